"""Answers to the exercises of lesson 03: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

DOWN = (
    "skips = []\nfor block, downsample in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = downsample(x)\n"
)
UP = "for upsample, block in ups:\n    x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)\n"

RIGHT = {
    "3.1": [
        "return torch.argmax((lists * one).sum(1)).item()",
        "return int((lists - one).square().sum(1).argmin())",
        "return int(F.cosine_similarity(lists, one[None]).argmax())",
        "best = 0\nfor i in range(len(lists)):\n    if lists[i] @ one > lists[best] @ one:\n        best = i\nreturn best",
        "import numpy as np\nreturn np.argmax(lists.numpy() @ one.numpy())",
        "return torch.einsum('td,d->t', lists, one).topk(1).indices.item()",
        "scores = [sum(a * b for a, b in zip(row.tolist(), one.tolist())) for row in lists]\nreturn scores.index(max(scores))",
        "return torch.cdist(lists, one[None]).argmin().item()",
    ],
    "3.2": [
        "return torch.cat((x.repeat_interleave(2, 2).repeat_interleave(2, 3), skip), 1)",
        "return torch.cat([torch.kron(x, torch.ones(1, 1, 2, 2)), skip], 1)",
        "B, C, H, W = x.shape\nbig = x[:, :, :, None, :, None].expand(B, C, H, 2, W, 2).reshape(B, C, 2 * H, 2 * W)\nreturn torch.cat([big, skip], dim=1)",
        "out = torch.empty(x.shape[0], x.shape[1] + skip.shape[1], *skip.shape[2:])\nout[:, x.shape[1] :] = skip\nfor i in range(2):\n    for j in range(2):\n        out[:, : x.shape[1], i::2, j::2] = x\nreturn out",
        "return torch.cat([torch.nn.Upsample(size=skip.shape[2:])(x), skip], dim=-3)",
        "rows = torch.arange(skip.shape[2]) // 2\ncolumns = torch.arange(skip.shape[3]) // 2\nreturn torch.cat([x[:, :, rows][..., columns].double(), skip.double()], 1)",
        "return torch.stack([torch.cat([F.interpolate(a[None], scale_factor=2)[0], b]) for a, b in zip(x, skip)])",
    ],
    "3.3": [
        "return ((model(schedule.add_noise(x0, noise, t), t) - noise) ** 2).mean()",
        "return F.mse_loss(noise, model(schedule.add_noise(x0, noise, t), t))",
        "a = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)\nx_t = a.sqrt() * x0 + (1 - a).sqrt() * noise\nreturn (noise - model(x_t, t)).square().mean()",
        "losses = [F.mse_loss(model(schedule.add_noise(x0[i : i + 1], noise[i : i + 1], t[i : i + 1]), t[i : i + 1]), noise[i : i + 1]) for i in range(len(t))]\nreturn torch.stack(losses).mean()",
        "error = (model(schedule.add_noise(x0, noise, t), t) - noise).flatten()\nreturn error @ error / len(error)",
        "predicted = model(schedule.add_noise(x0.double(), noise.double(), t), t)\nreturn (predicted - noise).pow(2).sum() / noise.numel()",
        "x_t = schedule.add_noise(x0, noise, t)\nreturn torch.nn.MSELoss()(model(x_t, t), noise.detach())",
    ],
    "3.4": [
        "skips = []\nfor block, downsample in downs:\n    x = block(x, time)\n    skips = [x, *skips]\n    x = downsample(x)\nx = middle(x, time)\nfor (upsample, block), skip in zip(ups, skips):\n    x = block(torch.cat((upsample(x), skip), 1), time)\nreturn x",
        "def go(x, level):\n    if level == len(downs):\n        return middle(x, time)\n    block, downsample = downs[level]\n    skip = block(x, time)\n    upsample, back = ups[len(ups) - 1 - level]\n    return back(torch.cat([upsample(go(downsample(skip), level + 1)), skip], dim=1), time)\nreturn go(x, 0)",
        "kept = {}\nfor i in range(len(downs)):\n    x = downs[i][0](x, time)\n    kept[i] = x\n    x = downs[i][1](x)\nx = middle(x, time)\nfor i in range(len(ups)):\n    x = ups[i][0](x)\n    x = torch.cat([x, kept[len(ups) - 1 - i]], dim=1)\n    x = ups[i][1](x, time)\nreturn x",
        "if not downs:\n    return middle(x, time)\n(block, downsample), (upsample, back) = downs[0], ups[-1]\nskip = block(x, time)\nbelow = small_unet(downsample(skip), time, downs[1:], middle, ups[:-1])\nreturn back(torch.cat([upsample(below), skip], dim=1), time)",
        DOWN
        + "x = middle(x, time)\nwhile skips:\n    upsample, block = ups[len(ups) - len(skips)]\n    x = block(torch.cat([upsample(x), skips.pop(-1)], -3), time)\nreturn x",
        "skips = []\nfor block, downsample in downs:\n    skips += [block(x, time)]\n    x = downsample(skips[-1])\nx = middle(x, time)\nfor i, (upsample, block) in enumerate(ups, 1):\n    x = block(torch.hstack([upsample(x), skips[-i]]), time)\nreturn x",
        "import functools\nskips = []\ndef down(h, pair):\n    skips.append(pair[0](h, time))\n    return pair[1](skips[-1])\ndef up(h, pair):\n    return pair[1](torch.cat([pair[0](h), skips.pop()], 1), time)\nreturn functools.reduce(up, ups, middle(functools.reduce(down, downs, x), time))",
    ],
}

WRONG = {
    "3.1": [
        ("return int((lists @ one).argmin())", "least alike"),
        ("return (lists @ one).argmax()", "int"),
        ("return int((lists @ one).argmax()) + 1", "from 0"),
        ("return int((lists - one).abs().sum(1).argmax())", "farthest away"),
        ("return int((lists @ one).abs().argmax())", "sign"),
        ("return int((lists - one).norm(dim=1).argmax())", "of distances the smallest"),
        ("return int((lists - one).abs().sum(1).argmin())", "should be"),
        ("return torch.tensor((lists @ one).argmax())", "int"),
        ("return int(lists.sum(1).argmax())", "plays no part"),
        ("return int((lists * one).argmax())", "not added up"),
        ("return int((lists * one).sum(0).argmax())", "for each row"),
        ("return (lists @ one).max().item()", "largest dot product itself|int"),
        ("return lists[(lists @ one).argmax()]", "[Ii]nt"),
        ("return int((one @ lists).argmax())", "don't fit"),
        ("return (lists @ one).argmax(1)", "fails|out of range|[Dd]imension"),
        ("return int((lists @ one.T).argmax)", "fails"),
        ("return float((lists @ one).argmax())", "an int was asked for, not a float"),
        ("return int((lists == one).sum(1).argmax())", "[Oo]nly zeros|gives 0 in every case"),
        ("return int((lists * one).amax(1).argmax())", "single product"),
        ("for i, row in enumerate(lists):\n    if row @ one > 0:\n        return i", "returns nothing|should be"),
        ("return 0", "never used|should be"),
        (
            "best = 1\nfor i in range(2, len(lists)):\n    if lists[i] @ one > lists[best] @ one:\n        best = i\nreturn best",
            "first row was left out",
        ),
        (
            "best = 0\nfor i in range(len(lists) - 1):\n    if lists[i] @ one > lists[best] @ one:\n        best = i\nreturn best",
            "last row was left out",
        ),
        (
            "for i, row in enumerate(lists):\n    if torch.equal(row, one):\n        return i",
            "without meeting a `return`",
        ),
        ("return int((lists[:, 0] - one[0]).abs().argmin())", "Only the first numbers are compared"),
        (
            "best, best_value = 0, 0\nfor i, row in enumerate(lists):\n    value = row @ one\n    if value > best_value:\n        best = i\nreturn best",
            "That is the last row with a dot product above 0",
        ),
        ("return int((lists @ one).max())", "That is the largest dot product itself"),
        ("return int((lists @ one).topk(2).indices[1])", "second most alike"),
        ("return int((lists @ one).abs().argmin())", "A dot product near 0 means 'nothing in common'"),
        ("return int(((lists - one) ** 2).argmin())", "The squared differences are not added up for each row"),
    ],
    "3.2": [
        (
            "import numpy as np\nbig = np.repeat(np.repeat(x.numpy(), 2, axis=2), 2, axis=3)\nreturn torch.from_numpy(np.concatenate([big, skip.numpy()], axis=1))",
            "no gradient can pass",
        ),
        ("return F.interpolate(x, scale_factor=2.0, mode='nearest')", "skip is missing"),
        ("return torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode='nearest')], dim=1)", "then the skip"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0, mode='bilinear'), skip], dim=1)", "2 × 2 square"),
        ("return torch.cat([x.repeat(1, 1, 2, 2), skip], dim=1)", "side by side"),
        ("return torch.cat([x, skip], dim=1)", "x must be doubled"),
        ("return F.interpolate(x, scale_factor=2.0) + skip", "not added"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=0)", "further channels"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0), skip])", "further channels"),
        ("return torch.cat([x, F.avg_pool2d(skip, 2)], dim=1)", "x is not doubled"),
        ("return torch.cat([x, F.interpolate(skip, scale_factor=0.5)], dim=1)", "x is not doubled"),
        ("return torch.cat([x.repeat_interleave(2, 2), skip], dim=1)", "width was not"),
        ("return torch.cat(F.interpolate(x, scale_factor=2.0), skip, dim=1)", "fails"),
        ("return torch.cat([F.interpolate(x, 2), skip], dim=1)", "don't fit|scale_factor"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0, mode='bicubic'), skip], dim=1)", "2 × 2 square"),
        ("return skip", "x is missing"),
        ("return torch.stack([F.interpolate(x, scale_factor=2.0), skip], dim=1)", "don't fit|equal size"),
        ("return torch.cat([F.interpolate(x, scale_factor=4.0), skip], dim=1)", "don't fit|number is off"),
        ("return [F.interpolate(x, scale_factor=2.0), skip]", "tensor was asked for"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=3)", "don't fit"),
        (
            "up = F.interpolate(x, scale_factor=2.0, mode='nearest')\nreturn torch.cat([up, skip.detach()], 1)",
            "The values are right",
        ),
        (
            "up = F.interpolate(x, scale_factor=2.0, mode='nearest')\nreturn torch.cat([up / 4, skip], dim=1)",
            "The pixel's value is shared out among the four",
        ),
        (
            "up = F.pad(x, (0, x.shape[3], 0, x.shape[2]))\nreturn torch.cat([up, skip], 1)",
            "x is filled up with zeros at its edge",
        ),
        (
            "up = F.interpolate(x, scale_factor=2.0)\nreturn up + skip[:, :up.shape[1]]",
            "A skip of a UNet is put behind",
        ),
        (
            "up = F.interpolate(x, scale_factor=2.0)\nreturn torch.cat([up, skip[:, :up.shape[1]]], 1)",
            "Only the first channels of the skip came along",
        ),
    ],
    "3.3": [
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), x0)", "compared with the picture"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise, reduction='none')", "still to be taken"),
        ("return F.mse_loss(model(x0, t), noise)", "must see the noisy picture"),
        ("return F.l1_loss(model(schedule.add_noise(x0, noise, t), t), noise)", "absolute"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), 0 * t), noise)", "must be told t"),
        ("return (model(schedule.add_noise(x0, noise, t), t) - noise).mean() ** 2", "First the squares"),
        (
            "noise = torch.randn_like(x0)\nreturn F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise)",
            "random numbers of its own",
        ),
        (
            "t = torch.randint(0, 5, (len(x0),))\nreturn F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise)",
            "random numbers of its own",
        ),
        ("return F.mse_loss(model(t, schedule.add_noise(x0, noise, t)), noise)", "changed places"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t)), noise)", "takes \\(x, t\\)"),
        ("return F.mse_loss(model(schedule.add_noise(noise, x0, t), t), noise)", "changed places"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise).item()", ".item"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise, reduction='sum')", "added up"),
        ("return F.mse_loss(model(x0 + noise, t), noise)", "plainly added"),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t), schedule.target(x0, noise, t, 'v_prediction'))",
            "here it is v",
        ),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(schedule.to_x0(model(x_t, t), x_t, t), x0)",
            "guessed picture was compared",
        ),
        (
            "a = schedule.alphas_cumprod[t][:, None, None, None]\nreturn F.mse_loss(model(a * x0 + (1 - a) * noise, t), noise)",
            "square roots",
        ),
        (
            "with torch.no_grad():\n    predicted = model(schedule.add_noise(x0, noise, t), t)\nreturn F.mse_loss(predicted, noise)",
            "no gradient reaches",
        ),
        ("x_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t), x_t)", "noisy picture"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise) ** 0.5", "square root too many"),
        ("return (model(schedule.add_noise(x0, noise, t), t) - noise).mean()", "squares are missing"),
        ("x_t = schedule.add_noise(x0, noise, t[0])\nreturn F.mse_loss(model(x_t, t), noise)", "should be|given|`x`"),
        ("x_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t / 1000), noise)", "`t`|should be"),
        ("x_t = schedule.add_noise(x0, noise, t)\nreturn model(x_t, t), noise", "tuple"),
        (
            "x_t = schedule.add_noise(x0, t, noise)\nreturn F.mse_loss(model(x_t, t), noise)",
            "noise and t have changed places",
        ),
        ("x_t = add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t), noise)", "name that does not exist"),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn ((model(x_t, t) - noise) ** 2).mean((1, 2, 3))",
            "each picture alone",
        ),
        ("return F.mse_loss(noise, noise)", "never|zeros"),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nloss = F.mse_loss(model(x_t, t), noise)\nloss.backward()\nreturn loss",
            "Line `loss\\.backward\\(\\)`",
        ),
        (
            "t = torch.randint(0, 1000, (len(x0),))\nx_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t), noise)",
            "It draws random numbers of its own",
        ),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn F.mse_loss(model(x_t, t), x_t - x0)",
            "x_t - x0 is not the noise",
        ),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn 1 - F.cosine_similarity(model(x_t, t).flatten(), noise.flatten(), dim=0)",
            "The cosine compares directions only",
        ),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nw = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn (w * (model(x_t, t) - noise) ** 2).mean()",
            "The pictures are weighted by ᾱ",
        ),
        (
            "x_t = schedule.add_noise(x0, noise, t)\nreturn (model(x_t, t) - noise).var()",
            "The variance of the differences leaves out their mean",
        ),
        (
            "for x, e, s in zip(x0, noise, t):\n    x_t = schedule.add_noise(x[None], e[None], s[None])\n    loss = F.mse_loss(model(x_t, s[None]), e[None])\nreturn loss",
            "Only the last picture counts",
        ),
    ],
    "3.4": [
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([upsample(x), skips.pop(0)], dim=1), time)\nreturn x",
            "oldest skip",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor (upsample, block), skip in zip(ups, skips):\n    x = block(torch.cat([upsample(x), skip], dim=1), time)\nreturn x",
            "oldest skip",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([skips.pop(), upsample(x)], dim=1), time)\nreturn x",
            "then the skip",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(upsample(x) + skips.pop(), time)\nreturn x",
            "not added",
        ),
        (
            DOWN + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(upsample(x), time)\nreturn x",
            "skips are missing",
        ),
        (
            "skips = []\nfor block, downsample in downs:\n    x = downsample(block(x, time))\n    skips.append(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "after the downsampling",
        ),
        (
            "skips = []\nfor block, downsample in downs:\n    skips.append(x)\n    x = downsample(block(x, time))\nx = middle(x, time)\n"
            + UP
            + "return x",
            "before the block",
        ),
        (DOWN + UP + "return x", "middle is missing"),
        (
            "skips = []\nfor block, downsample in downs:\n    skips.append(block(x, time))\n    x = downsample(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "what goes into the block",
        ),
        (
            "skips = []\nfor block, downsample in downs:\n    x = block(x, time)\n    skips.append(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "downsampled",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([x, skips.pop()], dim=1), time)\nreturn x",
            "must be upsampled",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([upsample(x), skips[-1]], dim=1), time)\nreturn x",
            "same skip",
        ),
        (DOWN + "return middle(x, time)", "way up is missing"),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = upsample(block(torch.cat([x, skips.pop()], dim=1), time))\nreturn x",
            "must be upsampled",
        ),
        (DOWN + "x = middle(x)\n" + UP + "return x", "time"),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([upsample(x), skips.pop()]), time)\nreturn x",
            "another dimension",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in reversed(ups):\n    x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)\nreturn x",
            "backwards",
        ),
        (DOWN + "middle(x, time)\n" + UP + "return x", "middle is missing"),
        (DOWN + "x = middle(time, x)\n" + UP + "return x", "`x` and `time` have changed places"),
        (DOWN + "x = middle(middle(x, time), time)\n" + UP + "return x", "`middle`"),
        (DOWN + "x = middle(x, time)\n" + UP + "return x, skips", "tensor was asked for"),
        (
            DOWN
            + "x = middle(x, time)\nfor block, upsample in ups:\n    x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)\nreturn x",
            "pairs of `ups`",
        ),
        (
            "skips = []\nfor downsample, block in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = downsample(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "pairs of `downs`",
        ),
        (
            "skips = []\nfor block, downsample in downs:\n    x = block(x, time)\n    skips.append(x.detach())\n    x = downsample(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "partly detached",
        ),
        (
            "for block, downsample in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = downsample(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "name that does not exist",
        ),
        (DOWN + "x = middle(x, time)\n" + UP, "returns nothing"),
        (
            "skips = []\nfor block, downsample in downs:\n    x = downsample(x)\n    x = block(x, time)\n    skips.append(x)\nx = middle(x, time)\n"
            + UP
            + "return x",
            "what goes into the block",
        ),
        (
            DOWN
            + "x = middle(x, time)\nfor upsample, block in ups:\n    x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)\n    return x",
            "first|axis|shape",
        ),
        (
            "skips = []\nfor block, down in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = down(x)\n    time = time / 2\nx = middle(x, time)\nfor up, block in ups:\n    x = block(torch.cat([up(x), skips.pop()], 1), time)\nreturn x",
            "What `middle` is given as `time` is wrong",
        ),
        (
            "skips = []\nfor block, down in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = down(x)\n    x = middle(x, time)\nfor up, block in ups:\n    x = block(torch.cat([up(x), skips.pop()], 1), time)\nreturn x",
            "The middle comes once",
        ),
        (
            "skips = []\nfor block, down in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = down(x)\nx = middle(x, time)\nfor up, block in ups:\n    h = block(torch.cat([up(x), skips.pop()], 1), time)\nreturn h",
            "On the way up",
        ),
        (
            "skips = []\nfor block, down in downs:\n    x = block(x, time)\n    skips.append(x)\n    x = down(x)\nx = middle(x, time)\nfor up, block in ups:\n    x = block(torch.cat([up(x), skips.pop()]), time)\nreturn x",
            "The skip is put behind as further channels",
        ),
    ],
}

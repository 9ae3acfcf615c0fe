"""For every graded exercise: a right answer written differently, and the wrong ones that people really give.

Beside each wrong answer stands what the check must say of it (a regular expression). `test_exercises` runs them all.
Only the lines behind ``def ...:`` are given; they stand in the place of the solution.
"""

RIGHT = {
    "ex-0-1": "return ([49406] + list(words)[:75] + [49407] * 77)[:76] + [49407]",
    "ex-0-2": "import math\nreturn math.prod(image_shape) / math.prod(latent_shape)",
    "ex-0-3": "return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)",
    "ex-1-1": "return (1 + (-real_scores).exp()).log().mean() + (1 + fake_scores.exp()).log().mean()",
    "ex-1-2": "return (1 + (-fake_scores).exp()).log().mean()",
    "ex-1-3": "return torch.stack([z1 + (z2 - z1) * i / (n - 1) for i in range(n)])",
    "ex-1-4": "return torch.exp(-torch.special.xlogy(shares, shares).sum())",
    "ex-2-1": "import math\nreturn math.sqrt(1 - beta) * x + math.sqrt(beta) * noise",
    "ex-2-2": "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn noise * torch.sqrt(1 - a) + x0 * torch.sqrt(a)",
    "ex-2-3": "a = alphas_cumprod[t].reshape(-1, 1, 1, 1)\nreturn x_t / a**0.5 - noise * ((1 - a) / a) ** 0.5",
    "ex-2-4": "return next(t for t, a in enumerate(alphas_cumprod.tolist()) if a < 0.5)",
    "ex-3-1": "return torch.argmax((lists * one).sum(1)).item()",
    "ex-3-2": "return torch.cat((x.repeat_interleave(2, 2).repeat_interleave(2, 3), skip), 1)",
    "ex-3-3": "return ((model(schedule.add_noise(x0, noise, t), t) - noise) ** 2).mean()",
    "ex-4-1": "r = (a_next / a) ** 0.5\nreturn r * x + ((1 - a_next) ** 0.5 - r * (1 - a) ** 0.5) * eps",
    "ex-4-2": (
        "x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5\n"
        "beta = 1 - a / a_next\n"
        "mean = (a_next**0.5 * beta * x0 + (1 - beta) ** 0.5 * (1 - a_next) * x) / (1 - a)\n"
        "return mean + (beta * (1 - a_next) / (1 - a)) ** 0.5 * z"
    ),
    "ex-4-3": (
        "for t, a, a_next in zip(visited, alphas, alphas[1:]):\n"
        "    eps = take_apart(x, t, a)[2]\n"
        "    x = step(x, eps, torch.randn(x.shape, generator=random), a, a_next)\n"
        "return x"
    ),
    "ex-5-1": "sigma = logvar.exp().sqrt()\nreturn noise * sigma + mean",
    "ex-5-2": "return (0.5 * (mean.square() + torch.exp(logvar) - logvar - 1)).sum(dim=(1, 2, 3))",
    "ex-5-3": "rows = z.movedim(1, -1)\nreturn torch.cdist(rows.flatten(0, 2), codes).argmin(1).view(rows.shape[:3])",
    "ex-5-4": (
        "code = ((e.detach() - z) ** 2).mean()\nreturn z - (z - e).detach(), ((z.detach() - e) ** 2).mean(), code"
    ),
    "ex-6-1": "return float((latents - latents.mean()).square().mean() ** -0.5)",
    "ex-6-2": (
        "x_t = schedule.add_noise(encode(images) * factor, noise, t)\nreturn (noise - model(x_t, t)).pow(2).mean()"
    ),
    "ex-6-3": "numbers = c_out * h * w\nreturn numbers * (c_in * kernel**2) * 2",
    "ex-7-1": "return F.embedding(tokens, table) + places[None]",
    "ex-7-2": (
        "rows, columns = -scores.log_softmax(1).diagonal(), -scores.log_softmax(0).diagonal()\n"
        "return (rows.mean() + columns.mean()) / 2"
    ),
    "ex-7-3": "return torch.softmax(torch.einsum('bnd,bmd->bnm', q, k) * k.shape[2] ** -0.5, dim=2) @ v",
    "ex-7-4": (
        "n, d = q.shape[1:]\n"
        "rows = [(q[:, i : i + 1] @ k[:, : i + 1].mT / d**0.5).softmax(2) @ v[:, : i + 1] for i in range(n)]\n"
        "return torch.cat(rows, 1)"
    ),
    "ex-7-5": (
        "answers = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([prompt, empty]))\n"
        "with_prompt, without = answers[: len(x)], answers[len(x) :]\n"
        "return s * with_prompt + (1 - s) * without"
    ),
    "ex-8-1": (
        "if strength < 0 or strength > 1:\n"
        "    raise ValueError('strength')\n"
        "return int(steps - round(strength * steps))"
    ),
    "ex-8-2": (
        "if start >= len(visited):\n"
        "    return known\n"
        "t = torch.tensor([visited[start]] * len(known), device=known.device)\n"
        "return walk(schedule.add_noise(known, noise, t), start)"
    ),
    "ex-8-3": "return lambda x, t: denoise(x, t) * mask + known * (1 - mask)",
    "ex-9-1": (
        "parts = [2 * inputs, convolution(inputs, outputs), convolution(time, outputs, 1), 2 * outputs]\n"
        "parts.append(convolution(outputs, outputs))\n"
        "return sum(parts) + (inputs != outputs) * convolution(inputs, outputs, 1)"
    ),
    "ex-9-2": (
        "import re\n"
        "level, kind, i = re.fullmatch(r'down_blocks\\.(\\d+)\\.(\\w+)\\.(\\d+)', name).groups()\n"
        "return f'input_blocks.{int(level) * (layers + 1) + int(i) + 1}.{int(kind == \"attentions\")}'"
    ),
    "ex-9-3": (
        "missing = sorted(name for name in wanted if name not in given)\n"
        "left = sorted(name for name in given if name not in wanted)\n"
        "return missing, left, sorted(n for n in wanted if n in given and tuple(wanted[n]) != tuple(given[n]))"
    ),
}

WRONG = {
    "ex-0-1": [
        ("return [49406, *words] + [49407] * (77 - len(words))", "the start mark counts too"),
        ("return [*words, *[49407] * (77 - len(words))]", "first token must be the start mark"),
        ("return [49406, *words, 49407] + [0] * (75 - len(words))", "nothing but the end mark"),
        ("return ([49406, *words] + [49407] * 76)[:77]", "one end mark remains"),
        ("return [49406, *words[-75:], *[49407] * (76 - len(words[-75:]))]", "first 75 words stay"),
    ],
    "ex-0-2": [
        ("import math\nreturn math.prod(latent_shape) / math.prod(image_shape)", "the other way round"),
        ("return image_shape[1] * image_shape[2] / (latent_shape[1] * latent_shape[2])", "the channels count too"),
        ("return image_shape[1] / latent_shape[1]", "3072 .* so 12; you said 4"),
    ],
    "ex-0-3": [
        ("return ((image + 1) * 127.5).clamp(0, 255).round()", "torch.uint8, not torch.float32"),
        ("return (image * 255).clamp(0, 255).round().byte()", "0.5 is at three quarters"),
        ("return (image * 127.5).clamp(0, 255).round().byte()", "-1 must become 0, and 1 must become 255"),
        ("return ((image + 1) * 127.5).round().byte()", "clamp before"),
        ("return ((image + 1) * 127.5).clamp(0, 255).byte()", "round before"),
    ],
    "ex-1-1": [
        ("return -real_scores.log().mean() - (1 - fake_scores).log().mean()", "makes it a probability"),
        ("return real_scores.sigmoid().log().mean() + (1 - fake_scores.sigmoid()).log().mean()", "with the minus"),
        ("return -real_scores.sigmoid().log().mean() - fake_scores.sigmoid().log().mean()", "for forgeries it is log"),
        ("return -(1 - real_scores.sigmoid()).log().mean() - fake_scores.sigmoid().log().mean()", "changed places"),
        (
            "return (-real_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid()).log().mean()).item()",
            "without .item",
        ),
        (
            "return -real_scores.sigmoid().log().sum() - (1 - fake_scores.sigmoid()).log().sum()",
            "the mean, not the sum",
        ),
    ],
    "ex-1-2": [
        ("return -fake_scores.log().mean()", "makes it a probability"),
        ("return fake_scores.sigmoid().log().mean()", "with the minus"),
        ("return -(1 - fake_scores.sigmoid()).log().mean()", "the detective's view"),
        ("return -fake_scores.sigmoid().log().sum()", "the mean, not the sum"),
        ("return (1 - fake_scores.sigmoid()).log().mean()", "with the minus"),
    ],
    "ex-1-3": [
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn w * z1 + (1 - w) * z2", "from z2 to z1"),
        ("w = torch.arange(n)[:, None] / n\nreturn (1 - w) * z1 + w * z2", "both ends count"),
        ("w = torch.linspace(0, 1, n + 1)[:, None]\nreturn (1 - w) * z1 + w * z2", "n lists of d numbers"),
        ("w = torch.linspace(0, 1, n)[:, None] ** 2\nreturn (1 - w) * z1 + w * z2", "equal steps"),
    ],
    "ex-1-4": [
        ("q = shares[shares > 0]\nreturn -(q * q.log()).sum()", "that is the entropy"),
        ("q = shares[shares > 0]\nreturn (q * q.log()).sum().exp()", "the minus in the exponent"),
        ("return (-(shares * shares.log()).sum()).exp()", "0 · log 0 gave nan"),
        ("return (shares > 0).sum().float()", "how evenly"),
    ],
    "ex-2-1": [
        ("return (1 - beta) * x + beta * noise", "variances were used"),
        ("return beta**0.5 * x + (1 - beta) ** 0.5 * noise", "changed places"),
        ("return x + beta**0.5 * noise", "the picture must shrink too"),
    ],
    "ex-2-2": [
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn a * x0 + (1 - a) * noise", "square root belongs"),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn (1 - a).sqrt() * x0 + a.sqrt() * noise", "changed places"),
        (
            "a = alphas_cumprod[t - 1][:, None, None, None]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "counted from 0",
        ),
        ("a = alphas_cumprod[t]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise", "without reshaping"),
    ],
    "ex-2-3": [
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn x_t - (1 - a).sqrt() * noise", "still shrunk"),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn (x_t - noise) / a.sqrt()", "made smaller"),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn (x_t - (1 - a) * noise) / a", "square root belongs"),
        (
            "a = alphas_cumprod[t][:, None, None, None]\nreturn x_t / a.sqrt() - (1 - a).sqrt() * noise",
            "divide the whole",
        ),
        ("a = alphas_cumprod[t]\nreturn (x_t - (1 - a).sqrt() * noise) / a.sqrt()", "without reshaping"),
    ],
    "ex-2-4": [
        ("return int((alphas_cumprod < 0.5).int().argmax()) - 1", "one step too early"),
        ("return int((alphas_cumprod < 0.5).int().argmax()) + 1", "counted from 0"),
        ("return (alphas_cumprod < 0.5).int().argmax()", "an int was asked for"),
        ("return int((alphas_cumprod > 0.5).int().argmax())", "ᾱ falls to 0.3"),
    ],
    "ex-3-1": [
        ("return int((lists @ one).argmin())", "argmax, not argmin"),
        ("return (lists @ one).argmax()", "an int was asked for"),
        ("return int((lists @ one).argmax()) + 1", "the products are"),
    ],
    "ex-3-2": [
        ("return F.interpolate(x, scale_factor=2.0, mode='nearest')", "the skip is missing"),
        ("return torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode='nearest')], dim=1)", "then the skip"),
        ("return torch.cat([F.interpolate(x, scale_factor=2.0, mode='bilinear'), skip], dim=1)", "2 x 2 square"),
        ("return torch.cat([x.repeat(1, 1, 2, 2), skip], dim=1)", "2 x 2 square"),
    ],
    "ex-3-3": [
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), x0)", "compared with the picture"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), t), noise, reduction='none')", "take the mean"),
        ("return F.mse_loss(model(x0, t), noise)", "must see the noisy picture"),
        ("return F.l1_loss(model(schedule.add_noise(x0, noise, t), t), noise)", "wrong by 3, squared 9"),
        ("return F.mse_loss(model(schedule.add_noise(x0, noise, t), 0 * t), noise)", "must be told t"),
    ],
    "ex-4-1": [
        ("return (x - (1 - a) ** 0.5 * eps) / a**0.5", "that is the guess"),
        ("return a_next**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5", "the noise is missing"),
        (
            "x0 = (x - a**0.5 * eps) / (1 - a) ** 0.5\nreturn (1 - a_next) ** 0.5 * x0 + a_next**0.5 * eps",
            "four square roots",
        ),
        ("x0 = (x - (1 - a) * eps) / a\nreturn a_next * x0 + (1 - a_next) * eps", "square roots"),
        ("x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5\nreturn a**0.5 * x0 + (1 - a) ** 0.5 * eps", "same amount of noise"),
    ],
    "ex-4-2": [
        ("alpha = a / a_next\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5", "fresh noise is missing"),
        (
            "alpha = a / a_next\n"
            "sigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\n"
            "return x - (1 - alpha) / (1 - a) ** 0.5 * eps + sigma * z",
            "divide the bracket",
        ),
        (
            "alpha = a / a_next\n"
            "mean = (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5\n"
            "return mean + (1 - a_next) / (1 - a) * (1 - alpha) * z",
            "σ² was used",
        ),
        (
            "alpha = a / a_next\n"
            "mean = (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5\n"
            "return mean + (1 - alpha) ** 0.5 * z",
            "the mean is right",
        ),
        (
            "mean = (x - (1 - a) / (1 - a) ** 0.5 * eps) / a**0.5\n"
            "return mean + ((1 - a_next) / (1 - a) * (1 - a)) ** 0.5 * z",
            "α is a / a_next",
        ),
    ],
    "ex-4-3": [
        (
            "for i in reversed(range(len(visited))):\n"
            "    eps = take_apart(x, visited[i], alphas[i])[2]\n"
            "    x = step(x, eps, torch.randn(x.shape, generator=random), alphas[i], alphas[i + 1])\n"
            "return x",
            "begin with the noisiest step",
        ),
        (
            "z = torch.randn(x.shape, generator=random)\n"
            "for i, t in enumerate(visited):\n"
            "    x = step(x, take_apart(x, t, alphas[i])[2], z, alphas[i], alphas[i + 1])\n"
            "return x",
            "new noise for every step",
        ),
        (
            "for i, t in enumerate(visited):\n"
            "    eps = take_apart(x, t, alphas[i])[2]\n"
            "    last = step(x, eps, torch.randn(x.shape, generator=random), alphas[i], alphas[i + 1])\n"
            "return last",
            "where the one before ended",
        ),
        (
            "for i, t in enumerate(visited):\n"
            "    noise = take_apart(x, t, alphas[i])[0]\n"
            "    x = step(x, noise, torch.randn(x.shape, generator=random), alphas[i], alphas[i + 1])\n"
            "return x",
            "the third thing",
        ),
    ],
    "ex-5-1": [
        ("return mean + logvar.exp() * noise", "that is σ²"),
        ("return mean + logvar * noise", "logvar is a logarithm"),
        ("return mean.detach() + (0.5 * logvar).exp() * noise", "no gradient reaches the mean"),
        ("return mean + (0.5 * logvar).exp().detach() * noise", "no gradient reaches logvar"),
        ("return torch.normal(mean, (0.5 * logvar).exp())", "no gradient reaches the mean"),
        ("return mean + (0.5 * logvar).exp() * torch.randn_like(mean)", "the noise that is given"),
    ],
    "ex-5-2": [
        ("return 0.5 * (mean**2 + logvar.exp() - 1 + logvar).flatten(1).sum(1)", "minus log σ²"),
        ("return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).mean(1)", "not the mean"),
        ("return (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1)", "the half is missing"),
        ("return 0.5 * (mean**2 + logvar.exp() - logvar).flatten(1).sum(1)", "is the -1 there"),
        ("return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()", "one number per picture"),
    ],
    "ex-5-3": [
        ("return (z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1).argmax(-1)", "not argmax"),
        ("return (z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1).min(-1).values", "not the distance"),
        (
            "b, d, h, w = z.shape\nreturn torch.cdist(z.reshape(-1, d), codes).argmin(1).view(b, h, w)",
            "is D where you think",
        ),
        (
            "return (z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1).argmin(-1).flatten()",
            "one number per position",
        ),
    ],
    "ex-5-4": [
        ("return e, F.mse_loss(e, z.detach()), F.mse_loss(z, e.detach())", "must reach z unchanged"),
        ("return z, F.mse_loss(e, z.detach()), F.mse_loss(z, e.detach())", "must get the code e"),
        ("return z + e - z.detach(), F.mse_loss(e, z.detach()), F.mse_loss(z, e.detach())", "must not reach e"),
        ("return z + (e - z).detach(), F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach())", "moves the codes only"),
        (
            "return z + (e - z).detach(), (e - z.detach()).square().sum(), (z - e.detach()).square().sum()",
            "mean squares",
        ),
        (
            "return z + (e - z).detach(), F.mse_loss(e.detach(), z.detach()), F.mse_loss(z, e.detach())",
            "not both",
        ),
    ],
    "ex-6-1": [
        ("return latents.std().item()", "makes it larger still"),
        ("return 1 / latents.var().item()", "1 / variance"),
        ("return 1 / latents.std()", "one plain number"),
        ("return 1 / latents.std(dim=(0, 2, 3)).mean().item()", "must have a standard deviation of 1"),
    ],
    "ex-6-2": [
        (
            "x_t = schedule.add_noise(encode(images), noise, t)\nreturn F.mse_loss(model(x_t, t), noise)",
            "factor is missing",
        ),
        (
            "x_t = schedule.add_noise(encode(images) / factor, noise, t)\nreturn F.mse_loss(model(x_t, t), noise)",
            "don't divide",
        ),
        ("x_t = schedule.add_noise(images, noise, t)\nreturn F.mse_loss(model(x_t, t), noise)", "encode first"),
        (
            "latents = factor * encode(images)\n"
            "return F.mse_loss(model(schedule.add_noise(latents, noise, t), t), latents)",
            "must be 9",
        ),
    ],
    "ex-6-3": [
        ("return kernel * kernel * c_in * c_out * h * w", "twice as many"),
        ("return 2 * c_in * c_out * h * w", "window of kernel"),
        ("return 2 * kernel * kernel * c_in * c_out", "for one position"),
        ("return 2 * kernel * kernel * c_in * h * w", "for one channel"),
        ("return 2 * kernel * kernel * c_out * h * w", "all c_in channels"),
        ("return 2 * 9 * c_in * c_out * h * w", "kernel must be taken into account"),
    ],
    "ex-7-1": [
        ("return table[tokens]", "the places are missing"),
        ("return table[tokens] + places[tokens]", "goes by place"),
        ("return (table + places)[None].expand(len(tokens), -1, -1)", "go by token"),
        ("return (table[tokens] + places).sum(1)", "two prompts of three tokens"),
    ],
    "ex-7-2": [
        ("return F.cross_entropy(scores, torch.arange(len(scores)))", "these are the rows only"),
        ("return F.cross_entropy(scores.T, torch.arange(len(scores)))", "these are the columns only"),
        (
            "r = torch.arange(len(scores))\nreturn F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)",
            "not their sum",
        ),
        (
            "r, options = torch.arange(len(scores)), {'reduction': 'sum'}\n"
            "return (F.cross_entropy(scores, r, **options) + F.cross_entropy(scores.T, r, **options)) / 2",
            "the mean over the pictures",
        ),
    ],
    "ex-7-3": [
        ("return (q @ k.transpose(1, 2)).softmax(-1) @ v", "divide the scores"),
        ("return (q @ k.transpose(1, 2) / 2**0.5).softmax(-1) @ v", "q.shape"),
        ("return (q @ k / q.shape[-1] ** 0.5).softmax(-1) @ v", "k must be transposed"),
        ("return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(1) @ v", "softmax over tokens"),
        ("return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)", "these are the weights"),
    ],
    "ex-7-4": [
        ("return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v", "the mask is missing"),
        (
            "s = q @ k.mT / q.shape[-1] ** 0.5\n"
            "return s.masked_fill(torch.ones_like(s).triu(0).bool(), -torch.inf).softmax(-1) @ v",
            "a token may look at itself",
        ),
        (
            "s = q @ k.mT / q.shape[-1] ** 0.5\n"
            "return s.masked_fill(torch.ones_like(s).tril(-1).bool(), -torch.inf).softmax(-1) @ v",
            "the other way round",
        ),
        ("s = q @ k.mT / q.shape[-1] ** 0.5\nreturn s.softmax(-1).tril() @ v", "before the softmax"),
        ("s = q @ k.mT / q.shape[-1] ** 0.5\nreturn s.tril().softmax(-1) @ v", "a score of 0 is still a score"),
        (
            "s = q @ k.mT\nreturn s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(-1) @ v",
            "divide the scores",
        ),
    ],
    "ex-7-5": [
        (
            "b, a = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)\n"
            "return a + s * (b - a)",
            "changed places",
        ),
        (
            "a, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)\n"
            "return b + s * (b - a)",
            "start from the prediction without",
        ),
        ("a, b = model(x, t, empty), model(x, t, prompt)\nreturn a + s * (b - a)", "one call with a batch of 4"),
        (
            "a, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)\nreturn b",
            "3.2 without",
        ),
        (
            "twice = [i.repeat_interleave(2, 0) for i in (x, t)]\n"
            "a, b = model(*twice, torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "whose x, whose t",
        ),
    ],
    "ex-8-1": [
        ("return round(strength * steps)", "so 7 are left out"),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError\nreturn steps - int(strength * steps)",
            "round, don't cut off",
        ),
        ("return steps - round(strength * steps)", "must raise ValueError"),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError\nreturn steps - strength * steps",
            "an index is a whole number",
        ),
    ],
    "ex-8-2": [
        (
            "if start == len(visited):\n    return known\n"
            "t = torch.full((len(known),), visited[start - 1])\n"
            "return walk(schedule.add_noise(known, noise, t), start)",
            "noised to another step",
        ),
        (
            "if start == len(visited):\n    return known\n"
            "t = torch.full((len(known),), visited[start])\nreturn walk(schedule.add_noise(known, noise, t), 0)",
            "must begin at index 2",
        ),
        (
            "if start == len(visited):\n    return known\n"
            "t = torch.full((len(known),), visited[start])\nwalk(known, start)\n"
            "return schedule.add_noise(known, noise, t)",
            "noised to another step",
        ),
        (
            "if start == len(visited):\n    return noise\n"
            "t = torch.full((len(known),), visited[start])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "with no step to walk, known itself",
        ),
    ],
    "ex-8-3": [
        ("return lambda x, t: torch.where(mask > 0, known, denoise(x, t))", "changed places"),
        ("return lambda x, t: mask * denoise(x, t)", "expected 7"),
        ("return lambda x, t: denoise(x, t)", "expected 7"),
        ("return known", "return a function"),
    ],
    "ex-9-1": [
        (
            "return 2 * inputs + convolution(inputs, outputs) + convolution(time, outputs, 1) + 2 * outputs"
            " + convolution(outputs, outputs)",
            "the shortcut is missing",
        ),
        (
            "return 2 * inputs + convolution(inputs, outputs) + 2 * outputs + convolution(outputs, outputs)"
            " + convolution(inputs, outputs, 1)",
            "layer for the time is missing",
        ),
        (
            "return convolution(inputs, outputs) + convolution(time, outputs, 1) + convolution(outputs, outputs)"
            " + convolution(inputs, outputs, 1)",
            "the norms have weights too",
        ),
        (
            "return 2 * inputs + convolution(inputs, outputs) + convolution(time, outputs, 1) + 2 * outputs"
            " + convolution(outputs, outputs) + convolution(inputs, outputs, 1)",
            "there is no shortcut",
        ),
    ],
    "ex-9-2": [
        (
            "_, level, kind, i = name.split('.')\nreturn f'input_blocks.{int(level) * (layers + 1) + int(i)}.0'",
            "count from 1",
        ),
        (
            "_, level, kind, i = name.split('.')\nreturn f'input_blocks.{1 + int(level) * layers + int(i)}.0'",
            "an entry of its own",
        ),
        (
            "_, level, kind, i = name.split('.')\nreturn f'input_blocks.{1 + int(level) * (layers + 1) + int(i)}.0'",
            "at place 1",
        ),
        (
            "_, level, kind, i = name.split('.')\n"
            "return f'input_blocks.{1 + int(level) * 3 + int(i)}.{int(kind == \"attentions\")}'",
            "use layers",
        ),
    ],
    "ex-9-3": [
        (
            "w, g = set(wanted), set(given)\n"
            "changed = sorted(n for n in w & g if wanted[n] != given[n])\n"
            "return sorted(g - w), sorted(w - g), changed",
            "changed places",
        ),
        ("w, g = set(wanted), set(given)\nreturn sorted(w - g), sorted(g - w)", "three lists"),
        ("w, g = set(wanted), set(given)\nreturn sorted(w - g), sorted(g - w), []", "8 channels instead of 4"),
        (
            "w, g = set(wanted), set(given)\n"
            "changed = sorted(n for n in w & g if wanted[n] != given[n])\n"
            "return list(w - g), sorted(g - w, reverse=True), changed",
            "left over, sorted",
        ),
    ],
}

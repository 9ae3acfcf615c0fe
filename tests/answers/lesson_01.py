"""Answers to the exercises of lesson 01: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

LOOP = "h = linear(z).unflatten(1, (-1, 4, 4))\nfor norm, conv in zip(norms[:-1], convs[:-1]):\n    "
LAST = "return torch.tanh(convs[-1](torch.relu(norms[-1](h))))"

RIGHT = {
    "1.1": [
        "return (1 + (-real_scores).exp()).log().mean() + (1 + fake_scores.exp()).log().mean()",
        "return -F.logsigmoid(real_scores).mean() - F.logsigmoid(-fake_scores).mean()",
        "both = torch.cat([real_scores, fake_scores])\ntarget = torch.cat([torch.ones_like(real_scores), torch.zeros_like(fake_scores)])\nreturn 2 * F.binary_cross_entropy_with_logits(both, target)",
        "loss = 0\nfor real, fake in zip(real_scores, fake_scores):\n    loss = loss - real.sigmoid().log() - (1 - fake.sigmoid()).log()\nreturn loss / len(real_scores)",
        "p, q = torch.sigmoid(real_scores.double()), torch.sigmoid(fake_scores.double())\nreturn -(torch.log(p) + torch.log(1 - q)).mean()",
        "return F.binary_cross_entropy(real_scores.sigmoid(), torch.ones(len(real_scores))) + F.binary_cross_entropy(fake_scores.sigmoid(), torch.zeros(len(fake_scores)))",
        "return -((1 / (1 + torch.exp(-real_scores))).log().sum() + (1 / (1 + torch.exp(fake_scores))).log().sum()) / len(fake_scores)",
    ],
    "1.2": [
        "return (1 + (-fake_scores).exp()).log().mean()",
        "return F.softplus(-fake_scores).mean()",
        "return F.binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))",
        "return sum(-s.sigmoid().log() for s in fake_scores) / len(fake_scores)",
        "return -torch.log(1 / (1 + torch.exp(-fake_scores.double()))).mean()",
        "return torch.einsum('b->', -F.logsigmoid(fake_scores)) / fake_scores.numel()",
    ],
    "1.3": [
        "return torch.stack([z1 + (z2 - z1) * i / (n - 1) for i in range(n)])",
        "return torch.lerp(z1[None], z2[None], torch.linspace(0, 1, n)[:, None])",
        "w = torch.arange(n).view(n, 1) / (n - 1)\nreturn z1 - w * (z1 - z2)",
        "import numpy as np\nreturn torch.from_numpy(np.linspace(z1.numpy(), z2.numpy(), n))",
        "w = torch.linspace(0, 1, n)\nreturn torch.outer(1 - w, z1) + torch.outer(w, z2)",
        "out = torch.empty(n, len(z1))\nout[0] = z1\nfor i in range(1, n):\n    out[i] = out[i - 1] + (z2 - z1) / (n - 1)\nreturn out",
        "w = torch.linspace(0, 1, n)\nreturn torch.stack([1 - w, w], 1) @ torch.stack([z1, z2])",
        "return torch.stack([torch.linspace(a.item(), b.item(), n) for a, b in zip(z1, z2)], dim=1)",
    ],
    "1.4": [
        "return torch.exp(-torch.special.xlogy(shares, shares).sum())",
        "return torch.special.entr(shares).sum().exp()",
        "import math\ntotal = 0.0\nfor q in shares.tolist():\n    if q > 0:\n        total -= q * math.log(q)\nreturn torch.tensor(math.exp(total))",
        "q = shares[shares != 0]\nreturn 2 ** (-(q * q.log2()).sum())",
        "q = shares[shares > 0].double()\nreturn (q ** -q).prod()",
        "return torch.exp(-(shares * torch.log(shares.clamp(min=1e-12))).sum())",
        "return torch.exp(-torch.nan_to_num(shares * shares.log()).sum())",
        "return torch.exp(torch.distributions.Categorical(probs=shares).entropy())",
        "q = shares[shares > 0]\nreturn (-(q * q.log()).sum()).exp().item()",
        "import math\nq = shares[shares > 0]\nreturn math.exp(-(q * q.log()).sum())",
        "import math\nreturn math.exp(-sum(q * math.log(q) for q in shares.tolist() if q))",
    ],
    "1.5": [
        "h = linear(z).unflatten(1, (-1, 4, 4))\nfor i in range(3):\n    h = convs[i](F.interpolate(F.relu(norms[i](h)), scale_factor=2))\nreturn convs[3](F.relu(norms[3](h))).tanh()",
        "h = linear(z).reshape(len(z), -1, 4, 4)\nfor n, c, s in zip(norms, convs, [8, 16, 32, None]):\n    h = F.relu(n(h))\n    h = c(F.interpolate(h, size=s) if s else h)\nreturn h.tanh()",
        LOOP + "h = conv(F.interpolate(torch.relu(norm(h)), scale_factor=2.0, mode='nearest'))\n" + LAST,
        LOOP
        + "h = norm(h).clamp(min=0)\n    h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)\n    h = conv(h)\n"
        + LAST,
        "h = linear(z)\nh = h.view(len(z), -1, 4, 4)\nfor i in range(len(convs)):\n    h = norms[i](h).relu()\n    if i < len(convs) - 1:\n        h = torch.nn.Upsample(scale_factor=2)(h)\n    h = convs[i](h)\nreturn h.tanh()",
        "h = linear(z).reshape(z.shape[0], -1, 4, 4)\n*pairs, (norm, conv) = zip(norms, convs)\nfor n, c in pairs:\n    h = c(F.interpolate(F.relu(n(h)), size=(2 * h.shape[2], 2 * h.shape[3])))\nreturn torch.tanh(conv(F.relu(norm(h))))",
        "h = linear(z).unflatten(1, (-1, 4, 4))\nnorms, convs = list(norms), list(convs)\nwhile len(convs) > 1:\n    h = norms.pop(0)(h)\n    h = convs.pop(0)(torch.kron(F.relu(h), torch.ones(2, 2)))\nreturn convs[0](F.relu(norms[0](h))).tanh()",
        "def go(h, i):\n    h = F.relu(norms[i](h))\n    if i == len(norms) - 1:\n        return torch.tanh(convs[i](h))\n    return go(convs[i](F.interpolate(h, scale_factor=2)), i + 1)\nreturn go(torch.unflatten(linear(z), 1, (-1, 4, 4)), 0)",
        "h = linear(z).unflatten(1, (-1, 4, 4)).double().float()\nfor norm, conv in zip(norms[:-1], convs[:-1]):\n    h = F.interpolate(norm(h), scale_factor=2)\n    h = conv(torch.where(h > 0, h, 0))\n"
        + LAST,
    ],
}

WRONG = {
    "1.1": [
        ("return -real_scores.log().mean() - (1 - fake_scores).log().mean()", "sigmoid comes first"),
        ("return real_scores.sigmoid().log().mean() + (1 - fake_scores.sigmoid()).log().mean()", "never negative"),
        ("return -real_scores.sigmoid().log().mean() - fake_scores.sigmoid().log().mean()", "1 - p"),
        ("return -(1 - real_scores.sigmoid()).log().mean() - fake_scores.sigmoid().log().mean()", "changed places"),
        ("return (-real_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid()).log().mean()).item()", ".item"),
        ("return -real_scores.sigmoid().log().sum() - (1 - fake_scores.sigmoid()).log().sum()", "not the sum"),
        (
            "both = torch.cat([real_scores, fake_scores])\ntarget = torch.cat([torch.ones_like(real_scores), torch.zeros_like(fake_scores)])\nreturn F.binary_cross_entropy_with_logits(both, target)",
            "all 2B pictures",
        ),
        ("return (real_scores.sigmoid() - 1).square().mean() + fake_scores.sigmoid().square().mean()", "least-squares"),
        ("return fake_scores.mean() - real_scores.mean()", "Wasserstein"),
        ("return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()", "hinge"),
        ("return real_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid()).log().mean()", "first sum"),
        ("return -real_scores.sigmoid().log().mean() - (1 + fake_scores.sigmoid()).log().mean()", "minus|subtracted"),
        (
            "return -real_scores.sigmoid().mean().log() - (1 - fake_scores.sigmoid()).mean().log()",
            "logarithm of a mean",
        ),
        ("return -real_scores.sigmoid().log10().mean() - (1 - fake_scores.sigmoid()).log10().mean()", "base 10"),
        ("return -real_scores.sigmoid().log().mean()", "[Oo]nly the real"),
        ("return -real_scores.sigmoid().log() - (1 - fake_scores.sigmoid()).log()", "mean over axis 0 is still"),
        ("return -real_scores.sigmoid().mean() - (1 - fake_scores.sigmoid()).mean()", "logarithm is missing"),
        ("return -real_scores.sigmoid().log().mean() - 1 - fake_scores.sigmoid().log().mean()", "1 - |[Bb]racket"),
        ("return -real_scores.sigmoid().log().mean() + (1 - fake_scores.sigmoid()).log().mean()", "subtracted|minus"),
        (
            "p = real_scores.sigmoid().detach()\nreturn -p.log().mean() - (1 - fake_scores.sigmoid()).log().mean()",
            "no gradient reaches `real_scores`",
        ),
        ("return -real_scores.softmax(0).log().mean() - (1 - fake_scores.softmax(0)).log().mean()", "softmax compares"),
        (
            "import math\nreturn -math.log(real_scores.sigmoid()) - math.log(1 - fake_scores.sigmoid())",
            "more than one number|single one",
        ),
        (
            "return -real_scores.sigmoid().log().mean(), -(1 - fake_scores.sigmoid()).log().mean()",
            "tensor was asked for",
        ),
        ("return -real_scores.sigmoid().log().mean() - (1 - fake_scores).sigmoid().log().mean()", "[Bb]racket|1 - "),
        ("p = torch.cat([real_scores, 1 - fake_scores]).sigmoid()\nreturn -p.log().mean()", "should be"),
        (
            "return -real_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid().log()).mean()",
            "1 is subtracted too late",
        ),
        (
            "return -(real_scores.sigmoid().log().sum() + (1 - fake_scores.sigmoid()).log().sum()) / 64",
            "It is divided by 64",
        ),
        (
            "return ((real_scores > 0).float().mean() + (fake_scores < 0).float().mean()) / 2",
            "That is the share of right answers",
        ),
        ("return -real_scores.tanh().log().mean() - (1 - fake_scores.tanh()).log().mean()", "nan appears first"),
        (
            "p, q = real_scores.sigmoid(), fake_scores.sigmoid()\nreturn -(p * p.log()).mean() - ((1 - q) * (1 - q).log()).mean()",
            "The logarithm of a share is weighted by that share in an ent",
        ),
    ],
    "1.2": [
        ("return -fake_scores.log().mean()", "sigmoid comes first"),
        ("return fake_scores.sigmoid().log().mean()", "never negative"),
        ("return -(1 - fake_scores.sigmoid()).log().mean()", "discriminator's view"),
        ("return -fake_scores.sigmoid().log().sum()", "not the sum"),
        ("return (1 - fake_scores.sigmoid()).log().mean()", "alternative"),
        ("return -fake_scores.sigmoid().mean().log()", "logarithm of a mean"),
        ("return -fake_scores.mean()", "Wasserstein"),
        ("return F.relu(1 - fake_scores).mean()", "hinge"),
        ("return (1 - fake_scores.sigmoid()).mean()", "1 - p is not the surprise"),
        ("return -fake_scores.sigmoid().log().mean().item()", ".item"),
        ("return -fake_scores.sigmoid().log()", "[Tt]he mean .*(missing|still)"),
        ("with torch.no_grad():\n    return -fake_scores.sigmoid().log().mean()", "no gradient reaches"),
        ("return F.mse_loss(fake_scores.sigmoid(), torch.ones_like(fake_scores))", "least-squares"),
        ("return -fake_scores.sigmoid().log2().mean()", "base 2"),
        ("return -fake_scores.sigmoid().exp().mean()", "logarithm.* is needed|exponential"),
        ("return -fake_scores.tanh().log().mean()", "nan|sigmoid"),
        ("return detective(fake_scores, fake_scores)", "name that does not exist"),
        ("return F.softplus(fake_scores).mean()", "discriminator's view"),
        ("return -fake_scores.sigmoid().sigmoid().log().mean()", "twice"),
        (
            "return F.binary_cross_entropy_with_logits(fake_scores, torch.full_like(fake_scores, 0.9))",
            "The labels are smoothed",
        ),
        ("return (fake_scores < 0).float().mean()", "That is the share of pictures that are caught"),
        (
            "return -fake_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid()).log().mean()",
            "Only -log p was asked for",
        ),
        ("return -fake_scores.sigmoid().log().median()", "Of `fake_scores\\.sigmoid\\(\\)\\.log\\(\\)`"),
    ],
    "1.3": [
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn w * z1 + (1 - w) * z2", "from z2 to z1"),
        ("w = torch.arange(n)[:, None] / n\nreturn (1 - w) * z1 + w * z2", "never reached"),
        ("w = torch.linspace(0, 1, n + 1)[:, None]\nreturn (1 - w) * z1 + w * z2", "one vector too many"),
        ("w = torch.linspace(0, 1, n)[:, None] ** 2\nreturn (1 - w) * z1 + w * z2", "not equal"),
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn z1 + w * z2", "must shrink"),
        ("w = torch.linspace(0, 1, n)\nreturn (1 - w) * z1 + w * z2", "don't fit|shape"),
        ("w = torch.linspace(0, 1, n)\nreturn torch.stack([(1 - a) * z1 + a * z2 for a in w], dim=1)", "transposed"),
        ("return [z1 + (z2 - z1) * i / (n - 1) for i in range(n)]", "tensor was asked for"),
        ("return torch.stack([z1 + (z2 - z1) * i / n for i in range(n)])", "never reached"),
        ("return torch.stack([z1 + (z2 - z1) * i / (n + 1) for i in range(1, n + 1)])", "[Bb]oth ends are left out"),
        ("return torch.stack([z1] * n)", "never leaves"),
        ("w = torch.linspace(0, n, n)[:, None]\nreturn (1 - w) * z1 + w * z2", "beyond z2"),
        (
            "rows = []\nfor i in range(n):\n    rows.append(z1)\n    z1 += (z2 - z1) / (n - 1)\nreturn torch.stack(rows)",
            "changed in place",
        ),
        ("return torch.linspace(z1, z2, n)", "should be|fails|number"),
        ("w = torch.rand(n)[:, None]\nreturn (1 - w) * z1 + w * z2", "random numbers"),
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn z1 + w * (z1 - z2)", "away from z2"),
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn w * (z2 - z1)", "starts from 0"),
        (
            "import math\nw = torch.linspace(0, 1, n)[:, None] * math.pi / 2\nreturn w.cos() * z1 + w.sin() * z2",
            "circle",
        ),
        ("w = torch.linspace(0, 1, 10)[:, None]\nreturn (1 - w) * z1 + w * z2", "never used|shape"),
        ("w = torch.linspace(0, 1, n)[:, None]\nreturn 1 - w * z1 + w * z2", "[Bb]racket|1 - "),
        ("w = torch.linspace(0, 1, n + 2)[:, None]\nreturn (1 - w) * z1 + w * z2", "two vectors too many"),
        (
            "w = torch.linspace(0, 1, n)[:, None]\no = torch.acos((z1 / z1.norm() * (z2 / z2.norm())).sum())\nreturn torch.sin((1 - w) * o) / torch.sin(o) * z1 + torch.sin(w * o) / torch.sin(o) * z2",
            "This is a walk on a circle from z1 to z2",
        ),
        (
            "out = [z1]\nfor _ in range(n - 2):\n    out.append((out[-1] + z2) / 2)\nreturn torch.stack(out + [z2])",
            "Each vector lies halfway between the one before it and z2",
        ),
        (
            "return torch.linspace(z1[0].item(), z2[0].item(), n)[:, None].expand(n, len(z1))",
            "Only the first number of each vector is walked",
        ),
    ],
    "1.4": [
        ("q = shares[shares > 0]\nreturn -(q * q.log()).sum()", "That is the entropy; e"),
        ("q = shares[shares > 0]\nreturn (q * q.log()).sum().exp()", "minus in the exponent"),
        ("return (-(shares * shares.log()).sum()).exp()", "0 · log 0"),
        ("return (shares > 0).sum().float()", "how evenly|How evenly"),
        ("q = shares[shares > 0]\nreturn (-q.log().sum()).exp()", "weighted"),
        ("q = shares[shares > 0]\nreturn (-(q * q.log()).mean()).exp()", "not the mean"),
        ("q = shares[shares > 0]\nreturn (-(q * q.log2()).sum()).exp()", "base 2"),
        ("q = shares[shares > 0]\nreturn 2 ** (-(q * q.log()).sum())", "natural logarithms"),
        ("return 1 / (shares**2).sum()", "another way"),
        ("q = shares[shares > 0.01]\nreturn (-(q * q.log()).sum()).exp()", "below 0.01"),
        ("return 1 / shares.max()", "largest share"),
        ("q = shares[shares > 0]\nreturn (-q * q.log()).exp().sum()", "on its own"),
        ("return (-(shares * (shares + 1e-2).log()).sum()).exp()", "What was added"),
        (
            "total = 0\nfor q in shares:\n    if q > 0:\n        total -= q * q.log()\nreturn total",
            "That is the entropy; e",
        ),
        ("if shares > 0:\n    return (-(shares * shares.log()).sum()).exp()", "neither true nor false"),
        ("q = shares[shares > 0]\nreturn -(q * q.log()).sum().exp()", "minus|sign"),
        ("return torch.tensor(10.0)", "should be|never used"),
        ("q = shares[shares > 0.1]\nreturn torch.exp(-(q * q.log()).sum())", "below 0.1"),
        ("q = shares + 0.01\nreturn torch.exp(-(q * q.log()).sum())", "What was added to the shares"),
        ("return torch.exp(-(shares * shares.log()).sum().nan_to_num())", "0 · log 0 gave nan"),
        ("q = shares[shares > 0]\nreturn round(torch.exp(-(q * q.log()).sum()).item())", "This is the right answer"),
        ("q = shares.softmax(0)\nreturn torch.exp(-(q * q.log()).sum())", "The shares are probabilities already"),
        ("import math\nq = shares[shares > 0]\nreturn 10 * -(q * q.log()).sum() / math.log(10)", "That is the entropy"),
        ("import math\nq = shares[shares > 0]\nreturn -(q * q.log()).sum() / math.log(10)", "That is the entropy"),
        ("q = shares[shares > 0]\nreturn 10 ** (-(q * q.log()).sum())", "Logarithm and power do not fit"),
        ("return torch.exp(-(shares * shares.sum().log()).sum())", "It gives 1\\.0 in every case"),
    ],
    "1.5": [
        (
            LOOP + "h = conv(F.interpolate(norm(h), scale_factor=2))\nreturn convs[-1](norms[-1](h)).tanh()",
            "ReLU is missing",
        ),
        (LOOP + "h = F.interpolate(conv(F.relu(norm(h))), scale_factor=2)\n" + LAST, "too late"),
        (
            "h = linear(z).unflatten(1, (-1, 4, 4))\nfor norm, conv in zip(norms, convs):\n    h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn h.tanh()",
            "last pair doubles",
        ),
        (
            LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn convs[-1](F.relu(norms[-1](h)))",
            "tanh is missing",
        ),
        (
            LOOP
            + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn convs[-1](F.relu(norms[-1](h))).sigmoid()",
            "sigmoid gives",
        ),
        (
            LOOP
            + "h = conv(F.interpolate(norm(F.relu(h)), scale_factor=2))\nreturn convs[-1](norms[-1](F.relu(h))).tanh()",
            "before the norm",
        ),
        (LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2, mode='bilinear'))\n" + LAST, "repeated"),
        (LOOP + "h = conv(F.relu(norm(h)).repeat(1, 1, 2, 2))\n" + LAST, "side by side"),
        (LOOP + "h = conv(F.relu(norm(h)))\n" + LAST, "interpolate|doubl|resizing"),
        (LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn h.tanh()", "not used|come once more"),
        (
            "h = linear(z)\nfor norm, conv in zip(norms[:-1], convs[:-1]):\n    h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\n"
            + LAST,
            "not folded",
        ),
        (
            "h = linear(z).unflatten(1, (4, 4, -1))\nfor norm, conv in zip(norms[:-1], convs[:-1]):\n    h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\n"
            + LAST,
            "channels",
        ),
        (
            LOOP + "h = conv(F.interpolate(F.relu(h), scale_factor=2))\nreturn convs[-1](F.relu(h)).tanh()",
            "norms are missing",
        ),
        (LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=4))\n" + LAST, "axis|number is off"),
        (
            LOOP
            + "h = conv(F.interpolate(F.leaky_relu(norm(h), 0.2), scale_factor=2))\nreturn convs[-1](F.leaky_relu(norms[-1](h), 0.2)).tanh()",
            "leaky",
        ),
        (
            LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn convs[-1](h).tanh()",
            "last norm and its ReLU",
        ),
        (
            LOOP
            + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\nreturn convs[-1](F.relu(norms[0](h))).tanh()",
            "channels",
        ),
        (
            "h = z.unflatten(1, (-1, 4, 4))\nfor norm, conv in zip(norms[:-1], convs[:-1]):\n    h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\n"
            + LAST,
            "unflatten",
        ),
        (LOOP + "h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2)).tanh()\n" + LAST, "only at the very end"),
        (LOOP + "h = norm(conv(F.interpolate(F.relu(h), scale_factor=2)))\n" + LAST, "channels"),
        (
            "with torch.no_grad():\n    h = linear(z).unflatten(1, (-1, 4, 4))\n    for norm, conv in zip(norms[:-1], convs[:-1]):\n        h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))\n    "
            + LAST,
            "no gradient reaches `z`",
        ),
        (
            "h = linear(z).unflatten(1, (-1, 4, 4))\nh = F.interpolate(h, scale_factor=8.0)\nfor norm, conv in zip(norms, convs):\n    h = conv(F.relu(norm(h)))\nreturn h.tanh()",
            "All doublings are made at once",
        ),
        (
            "h = linear(z).unflatten(1, (-1, 4, 4))\nfor i in range(4):\n    h = F.relu(norms[i](h))\n    if i > 0:\n        h = F.interpolate(h, scale_factor=2.0)\n    h = convs[i](h)\nreturn h.tanh()",
            "too late",
        ),
    ],
}

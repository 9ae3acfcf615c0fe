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
            r"\(eps, a, a_next\) were",
        ),
    ],
}

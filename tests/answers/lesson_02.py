"""Answers to the exercises of lesson 02: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

RIGHT = {
    "2.1": [
        "import math\nreturn math.sqrt(1 - beta) * x + math.sqrt(beta) * noise",
        "a = torch.tensor(1 - beta)\nreturn a.sqrt() * x + (1 - a).sqrt() * noise",
        "import numpy as np\nreturn torch.from_numpy(np.sqrt(1 - beta) * x.numpy() + np.sqrt(beta) * noise.numpy())",
        "out = x.clone()\nfor i in range(len(x)):\n    out[i] = (1 - beta) ** 0.5 * x[i] + beta**0.5 * noise[i]\nreturn out",
        "return torch.lerp(x.double(), noise.double(), 0.5) * 0 + x.double() * (1 - beta) ** 0.5 + noise * beta**0.5",
        "return (torch.stack([x, noise], -1) * torch.tensor([1 - beta, beta]).sqrt()).sum(-1)",
    ],
    "2.2": [
        "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn noise * torch.sqrt(1 - a) + x0 * torch.sqrt(a)",
        "a = alphas_cumprod.gather(0, t).reshape(len(t), 1, 1, 1)\nreturn a**0.5 * x0 + (1 - a) ** 0.5 * noise",
        "parts = [alphas_cumprod[s] ** 0.5 * x + (1 - alphas_cumprod[s]) ** 0.5 * n for x, n, s in zip(x0, noise, t)]\nreturn torch.stack(parts)",
        "a = alphas_cumprod[t]\nreturn torch.einsum('b,bchw->bchw', a.sqrt(), x0) + torch.einsum('b,bchw->bchw', (1 - a).sqrt(), noise)",
        "import numpy as np\na = alphas_cumprod.numpy()[t.numpy()].reshape(-1, 1, 1, 1)\nreturn torch.tensor(np.sqrt(a) * x0.numpy() + np.sqrt(1 - a) * noise.numpy())",
        "a = alphas_cumprod.double()[t][:, None, None, None]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
        "a = alphas_cumprod[t]\nreturn (a.sqrt() * x0.T + (1 - a).sqrt() * noise.T).permute(3, 2, 1, 0)",
    ],
    "2.3": [
        "a = alphas_cumprod[t].reshape(-1, 1, 1, 1)\nreturn x_t / a**0.5 - noise * ((1 - a) / a) ** 0.5",
        "a = alphas_cumprod[t][:, None, None, None]\nreturn a.rsqrt() * x_t - (1 / a - 1).sqrt() * noise",
        "rows = []\nfor i in range(len(t)):\n    a = alphas_cumprod[t[i]].item()\n    rows.append((x_t[i] - (1 - a) ** 0.5 * noise[i]) / a**0.5)\nreturn torch.stack(rows)",
        "a = alphas_cumprod[t].double()[:, None, None, None]\nreturn (x_t - (1 - a).sqrt() * noise) / a.sqrt()",
        "import numpy as np\na = alphas_cumprod.numpy()[t.numpy()][:, None, None, None]\nreturn torch.from_numpy((x_t.numpy() - np.sqrt(1 - a) * noise.numpy()) / np.sqrt(a))",
        "a = alphas_cumprod.index_select(0, t)\nreturn torch.einsum('b,bchw->bchw', 1 / a.sqrt(), x_t - torch.einsum('b,bchw->bchw', (1 - a).sqrt(), noise))",
    ],
    "2.4": [
        "return next(t for t, a in enumerate(alphas_cumprod.tolist()) if a < 0.5)",
        "return (alphas_cumprod < 0.5).nonzero()[0].item()",
        "return int((alphas_cumprod >= 0.5).sum())",
        "t = 0\nwhile alphas_cumprod[t] >= 0.5:\n    t += 1\nreturn t",
        "import numpy as np\nreturn np.argmax(alphas_cumprod.numpy() < 0.5)",
        "return torch.searchsorted(-alphas_cumprod, torch.tensor(-0.5), right=True).item()",
    ],
}

WRONG = {
    "2.1": [
        ("return (1 - beta) * x + beta * noise", "[Vv]ariances were used"),
        ("return beta**0.5 * x + (1 - beta) ** 0.5 * noise", "changed places"),
        ("return x + beta**0.5 * noise", "must shrink too"),
        ("x *= (1 - beta) ** 0.5\nreturn x + beta**0.5 * noise", "changed in place"),
        ("return torch.sqrt(1 - beta) * x + torch.sqrt(beta) * noise", "takes a tensor"),
        ("while True:\n    pass", "come to an end"),
        ("print((1 - beta) ** 0.5 * x + beta**0.5 * noise)", "return"),
        ("import math\nreturn (1 - beta ** 0.5) * x + beta ** 0.5 * noise", "Of the picture"),
        (
            "for t in range(10):\n    x = (1 - beta) ** 0.5 * x + beta ** 0.5 * noise\nreturn x",
            "This is many steps with the same noise",
        ),
        ("x1 = x + beta * noise\nreturn x1", "The picture must shrink too"),
        ("a = 1 - beta ** 0.5\nreturn a * x + (1 - a) * noise", "Of the picture"),
        ("return (1 - beta) ** 0.5 * x.mean() + beta ** 0.5 * noise", "Each pixel keeps something of its own value"),
        ("y = (1 - beta) ** 0.5 * x + beta ** 0.5 * noise\nreturn y / y.std()", "own standard deviation"),
        ("return (1 - beta) ^ 0.5 * x + beta ^ 0.5 * noise", "Line `\\(1 - beta\\) \\^ 0\\.5 \\* x \\+ beta`"),
        ("return (1 - beta ** 2) ** 0.5 * x + beta * noise", "β is a variance"),
        ("return (1 - beta) ** 1/2 * x + beta ** 1/2 * noise", "Half was taken where a square root belongs"),
    ],
    "2.2": [
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn a * x0 + (1 - a) * noise", "[Ss]quare root"),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn (1 - a).sqrt() * x0 + a.sqrt() * noise", "changed places"),
        (
            "a = alphas_cumprod[t - 1][:, None, None, None]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "counted from 0",
        ),
        ("a = alphas_cumprod[t]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise", "without reshaping"),
        (
            "a = (1 - alphas_cumprod).cumprod(0)[t][:, None, None, None]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "not β",
        ),
        ("a = alphas_cumprod[t[0]]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise", "first one's step"),
        ("a = alphas_cumprod[:, None, None, None]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise", r"\(5, 1, 1, 1\)"),
        (
            "a = torch.cumprod(alphas_cumprod, 0)[t].view(-1, 1, 1, 1)\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "`alphas_cumprod` is a running product already",
        ),
        (
            "out = []\nfor i in range(len(t)):\n    x = x0[i]\n    for s in range(t[i] + 1):\n        before = alphas_cumprod[s - 1] if s else 1\n        al = alphas_cumprod[s] / before\n        x = al ** 0.5 * x + (1 - al) ** 0.5 * noise[i]\n    out.append(x)\nreturn torch.stack(out)",
            "The same noise came in at every step",
        ),
        (
            "a = (alphas_cumprod[t] / alphas_cumprod[(t - 1).clamp(min=0)]).view(-1, 1, 1, 1)\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "That is the step from t - 1 to t",
        ),
        ("a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn a.sqrt() * x0 + (1 - a.sqrt()) * noise", "Of the noise"),
        (
            "a = alphas_cumprod[t.float().mean().long()]\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "All pictures get the mean of the steps",
        ),
        (
            "for i in range(len(t)):\n    a = alphas_cumprod[t[i]]\n    return a.sqrt() * x0[i] + (1 - a).sqrt() * noise[i]",
            "only the first comes out",
        ),
        (
            "a = (alphas_cumprod[0] ** t).view(-1, 1, 1, 1)\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "β differs from step to step",
        ),
        (
            "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn a ** 1/2 * x0 + (1 - a) ** 1/2 * noise",
            "Half was taken where a square root belongs",
        ),
        (
            "a = torch.cat([torch.ones(1), alphas_cumprod])[t].view(-1, 1, 1, 1)\nreturn a.sqrt() * x0 + (1 - a).sqrt() * noise",
            "ᾱ_t has the factor of step t",
        ),
    ],
    "2.3": [
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn x_t - (1 - a).sqrt() * noise", "division by"),
        (
            "a = alphas_cumprod[t][:, None, None, None]\nreturn (x_t - noise) / a.sqrt()",
            "factor .* is missing, on `noise`",
        ),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn (x_t - (1 - a) * noise) / a", "[Ss]quare root"),
        ("a = alphas_cumprod[t][:, None, None, None]\nreturn x_t / a.sqrt() - (1 - a).sqrt() * noise", "The whole"),
        ("a = alphas_cumprod[t]\nreturn (x_t - (1 - a).sqrt() * noise) / a.sqrt()", "don't fit"),
        ("a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn noise", "comes out as it went in|never used"),
        (
            "out = []\nfor i in range(len(t)):\n    x = x_t[i]\n    for s in range(int(t[i]), -1, -1):\n        al = alphas_cumprod[s] / (alphas_cumprod[s - 1] if s else 1)\n        x = (x - (1 - al) ** 0.5 * noise[i]) / al ** 0.5\n    out.append(x)\nreturn torch.stack(out)",
            "The noise is the one of the whole jump",
        ),
        (
            "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn a.sqrt() * x_t + (1 - a).sqrt() * noise",
            "This adds the noise once more",
        ),
        (
            "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn (x_t / (1 - a).sqrt() - noise) / a.sqrt()",
            "The noise is to be multiplied by √\\(1 - ᾱ_t\\)",
        ),
        (
            "a = alphas_cumprod[t].view(-1, 1, 1, 1)\nreturn (x_t - (1 - a) ** 1/2 * noise) / a ** 1/2",
            "Half was taken where a square root belongs",
        ),
    ],
    "2.4": [
        ("return int((alphas_cumprod < 0.5).int().argmax()) - 1", "[Oo]ne step too early"),
        ("return int((alphas_cumprod < 0.5).int().argmax()) + 1", "too large .*, 1"),
        ("return (alphas_cumprod < 0.5).int().argmax()", "int"),
        ("return int((alphas_cumprod > 0.5).int().argmax())", "right way round"),
        (
            "snr = alphas_cumprod / (1 - alphas_cumprod).sqrt()\nreturn int((snr < 1).int().argmax())",
            "The SNR is ᾱ divided by 1 - ᾱ",
        ),
        (
            "snr = torch.log(alphas_cumprod / (1 - alphas_cumprod))\nreturn int((snr < 1).int().argmax())",
            "The logarithm of the SNR is compared with 1",
        ),
        ("return int(alphas_cumprod.argmax())", "Always 0"),
        ("return int((alphas_cumprod > 0.5).sum()) - 1", "One step too early"),
        ("return int((alphas_cumprod ** 0.5 < 0.5).int().argmax())", "Picture and noise balance where ᾱ is 0\\.5"),
        (
            "return int((alphas_cumprod - 0.5).abs().argmin())",
            "That is the step at which both are nearest to each other",
        ),
        ("return alphas_cumprod[alphas_cumprod < 0.5][0].item()", "That is ᾱ at the step"),
        ("return len(alphas_cumprod) // 2", "That is the middle of the schedule"),
        ("return int((alphas_cumprod < 0.5).sum())", "That is how many steps have more noise than picture"),
        ("snr = alphas_cumprod / (1 - alphas_cumprod)\nreturn int(snr.argmin())", "That is the last step"),
        (
            "found = 0\nfor i, a in enumerate(alphas_cumprod):\n    if a / (1 - a) < 1:\n        found = i\nreturn found",
            "That is the last step",
        ),
        (
            "a = torch.cumprod(alphas_cumprod, 0)\nreturn int((a < 0.5).int().argmax())",
            "`alphas_cumprod` is a running product already",
        ),
    ],
}

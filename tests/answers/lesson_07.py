"""Answers to the exercises of lesson 07: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

RIGHT = {
    "7.1": [
        "return F.embedding(tokens, table) + places[None]",
        "return torch.stack([torch.stack([table[n] + p for n, p in zip(row, places)]) for row in tokens])",
        "out = torch.zeros(*tokens.shape, table.shape[1])\nfor b in range(tokens.shape[0]):\n    for n in range(tokens.shape[1]):\n        out[b, n] = table[tokens[b, n]] + places[n]\nreturn out",
        "hot = F.one_hot(tokens, len(table)).to(table.dtype)\nreturn hot @ table + places",
        "rows = table.index_select(0, tokens.flatten()).view(*tokens.shape, -1)\nreturn rows + places[torch.arange(tokens.shape[1])]",
        "import numpy as np\nreturn torch.from_numpy(table.numpy()[tokens.numpy()] + places.numpy())",
        "return torch.einsum('bnv,vd->bnd', F.one_hot(tokens, len(table)).double(), table.double()) + places.double()",
        "return torch.add(*torch.broadcast_tensors(table[tokens], places.unsqueeze(0)))",
    ],
    "7.2": [
        "rows, columns = -scores.log_softmax(1).diagonal(), -scores.log_softmax(0).diagonal()\nreturn (rows.mean() + columns.mean()) / 2",
        "r = torch.arange(len(scores))\nreturn 0.5 * sum(F.cross_entropy(s, r) for s in (scores, scores.t()))",
        "own = scores.diag()\nreturn ((scores.logsumexp(0) - own).mean() + (scores.logsumexp(1) - own).mean()) / 2",
        "eye = torch.eye(len(scores))\nreturn (F.cross_entropy(scores, eye) + F.cross_entropy(scores.T, eye)) / 2",
        "n = len(scores)\nr = torch.arange(n)\nreturn (F.cross_entropy(scores, r, reduction='sum') + F.cross_entropy(scores.T, r, reduction='sum')) / (2 * n)",
        "r = torch.arange(len(scores))\nboth = torch.cat([scores, scores.T])\nreturn F.cross_entropy(both, torch.cat([r, r]))",
        "e = scores.exp()\ntotal = 0\nfor i in range(len(scores)):\n    total = total - torch.log(e[i, i] / e[i].sum()) - torch.log(e[i, i] / e[:, i].sum())\nreturn total / (2 * len(scores))",
        "r = torch.arange(len(scores))\nreturn (F.nll_loss(F.log_softmax(scores, 1), r) + F.nll_loss(F.log_softmax(scores.T, 1), r)) / 2",
        "return torch.nn.CrossEntropyLoss()(torch.stack([scores, scores.T], 2), torch.arange(len(scores))[:, None].repeat(1, 2))",
    ],
    "7.3": [
        "return torch.softmax(torch.einsum('bnd,bmd->bnm', q, k) * k.shape[2] ** -0.5, dim=2) @ v",
        "return F.scaled_dot_product_attention(q, k, v)",
        "rows = []\nfor b in range(len(q)):\n    s = q[b] @ k[b].T / q.shape[2] ** 0.5\n    rows.append(s.softmax(1) @ v[b])\nreturn torch.stack(rows)",
        "d = q.size(-1)\nw = torch.exp(torch.bmm(q, k.permute(0, 2, 1)) / math.sqrt(d))\nreturn torch.bmm(w / w.sum(2, keepdim=True), v)",
        "w = ((k @ q.mT) / k.shape[-1] ** 0.5).softmax(1)\nreturn w.mT @ v",
        "s = (q.double()[:, :, None] * k.double()[:, None]).sum(-1) / q.shape[2] ** 0.5\nreturn (s.softmax(2)[..., None] * v.double()[:, None]).sum(2)",
        "import numpy as np\ns = q.numpy() @ k.numpy().swapaxes(1, 2) / np.sqrt(q.shape[-1])\ne = np.exp(s - s.max(-1, keepdims=True))\nreturn torch.tensor(e / e.sum(-1, keepdims=True) @ v.numpy())",
        "return torch.stack([torch.stack([(one @ keys.T / len(one) ** 0.5).softmax(0) @ vals for one in qs]) for qs, keys, vals in zip(q, k, v)])",
    ],
    "7.4": [
        "n, d = q.shape[1:]\nrows = [(q[:, i : i + 1] @ k[:, : i + 1].mT / d**0.5).softmax(2) @ v[:, : i + 1] for i in range(n)]\nreturn torch.cat(rows, 1)",
        "return F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        "s = q @ k.mT / q.shape[-1] ** 0.5\ns[:, *torch.triu_indices(q.shape[1], q.shape[1], 1)] = float('-inf')\nreturn s.softmax(-1) @ v",
        "s = q @ k.mT / q.shape[-1] ** 0.5\nw = s.softmax(-1).tril()\nreturn w / w.sum(-1, keepdim=True) @ v",
        "s = torch.einsum('bid,bjd->bij', q, k) / math.sqrt(q.shape[2])\nseen = torch.ones_like(s).tril() == 1\nreturn torch.where(seen, s, torch.tensor(-torch.inf)).softmax(2) @ v",
        "n = q.shape[1]\nreturn (q @ k.mT / q.shape[-1] ** 0.5 + torch.full((n, n), -torch.inf).triu(1)).softmax(-1) @ v",
        "s = q @ k.mT / q.shape[-1] ** 0.5\nreturn s.masked_fill(torch.ones_like(s).triu(1).bool(), -1e9).softmax(-1) @ v",
        "out = torch.zeros_like(v)\nfor b in range(q.shape[0]):\n    for i in range(q.shape[1]):\n        s = k[b, : i + 1] @ q[b, i] / q.shape[-1] ** 0.5\n        out[b, i] = s.softmax(0) @ v[b, : i + 1]\nreturn out",
        "i = torch.arange(q.shape[1])\nreturn F.scaled_dot_product_attention(q, k, v, attn_mask=i[:, None] >= i)",
    ],
    "7.5": [
        "answers = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([prompt, empty]))\nwith_prompt, without = answers[: len(x)], answers[len(x) :]\nreturn s * with_prompt + (1 - s) * without",
        "a, b = model(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat((empty, prompt), 0)).split(len(x))\nreturn torch.lerp(a, b, s)",
        "both = model(torch.cat([x] * 2), torch.cat([t] * 2), torch.vstack([empty, prompt]))\nreturn both[: len(x)] * (1 - s) + both[len(x) :] * s",
        "pairs = model(x.repeat_interleave(2, 0), t.repeat_interleave(2), torch.stack([empty, prompt], 1).flatten(0, 1))\na, b = pairs[::2], pairs[1::2]\nreturn a + s * (b - a)",
        "out = model(x=torch.cat([x, x]), t=torch.cat([t, t]), context=torch.cat([prompt, empty])).unflatten(0, (2, -1))\nreturn out[1] + s * (out[0] - out[1])",
        "a, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).double().tensor_split(2)\nreturn a + float(s) * (b - a)",
        "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nreturn torch.einsum('g,gbchw->bchw', torch.tensor([1 - s, s]), both.view(2, *x.shape))",
        "import numpy as np\nboth = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).numpy()\na, b = np.split(both, 2)\nreturn torch.from_numpy(a + s * (b - a))",
    ],
}

QKV = "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\n"
ASK = "without, with_prompt = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)\n"

WRONG = {
    "7.1": [
        ("return table[tokens]", "rows of positions are missing"),
        ("return table[tokens] + places[tokens]", "second one goes by position"),
        ("return F.embedding(tokens, table) + F.embedding(tokens, places)", "second one goes by position"),
        ("return (table[: tokens.shape[1]] + places)[None].expand(len(tokens), -1, -1)", "go by token"),
        ("return (table + places)[None].expand(len(tokens), -1, -1)", r"shapes don't fit.*\(7, 3\)"),
        ("return (table[tokens] + places).sum(1)", "sum was taken over axis 1"),
        ("return (table[tokens] + places).mean(1)", "mean was taken over axis 1"),
        ("return table[tokens] * places", "to be added"),
        ("return table[tokens] - places", "added, not|minus|subtract"),
        ("return torch.cat([table[tokens], places.expand(len(tokens), -1, -1)], -1)", "side by side"),
        ("return torch.cat([table[tokens], places[None]])", "[Ss]hape is"),
        ("return table[tokens] + torch.arange(tokens.shape[1])[:, None]", "number of the position"),
        ("return table[tokens] + places[1:]", "shapes don't fit"),
        ("return table[tokens] + places.roll(-1, 0)", "counted from 0"),
        ("return table[tokens] + places.flip(0)", "differ|right"),
        ("return table[tokens] + places[: len(tokens)][:, None]", "along a prompt"),
        ("return table[tokens[0]] + places", "only the first comes out"),
        ("return (table[tokens[0]] + places).expand(len(tokens), -1, -1)", "Only the first prompt|Only row 0"),
        ("return tokens @ table + places", "fails|don't fit|expected"),
        ("return tokens + places", "don't fit|comes out"),
        ("table[tokens] += places\nreturn table[tokens]", "differ|right|place"),
        ("return places.expand(len(tokens), -1, -1)", "rows of tokens are missing"),
        ("return (table[tokens] + places).transpose(1, 2)", "transposed"),
        ("return [[table[n] + p for n, p in zip(row, places)] for row in tokens]", "a list of 2"),
        ("return table[tokens] + places[0]", "All tokens got row 0 of `places`"),
        ("return table[tokens[0]] + places", "only the first comes out"),
        (
            "out = torch.zeros(len(tokens), 77, 128)\nfor i in range(77):\n    out[:, i] = table[tokens[:, i]] + places[i]\nreturn out",
            "Here `out\\[:, i\\]` is a tensor of shape \\(2, 128\\) and",
        ),
        ("x = table[tokens]\nx[:, 0] = x[:, 0] + places[0]\nreturn x", "Only the first token got its position"),
        (
            "return table[tokens] * table.shape[1] ** 0.5 + places",
            "The rows of the table were multiplied by √d, as in some",
        ),
    ],
    "7.2": [
        (
            "r = torch.arange(len(scores))\nreturn max(F.cross_entropy(scores, r), F.cross_entropy(scores.T, r))",
            "should be",
        ),
        ("return F.cross_entropy(scores, torch.arange(len(scores)))", "These are the rows only"),
        ("return F.cross_entropy(scores.T, torch.arange(len(scores)))", "These are the columns only"),
        (
            "r = torch.arange(len(scores))\nreturn F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)",
            "sum of both directions",
        ),
        (
            "r, o = torch.arange(len(scores)), {'reduction': 'sum'}\nreturn (F.cross_entropy(scores, r, **o) + F.cross_entropy(scores.T, r, **o)) / 2",
            "sum over the pictures",
        ),
        (
            "with torch.no_grad():\n    r = torch.arange(len(scores))\n    return (F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)) / 2",
            "no gradient reaches `scores`",
        ),
        (
            "r = torch.arange(len(scores))\nreturn (F.cross_entropy(scores, r) + F.cross_entropy(scores.T.detach(), r)) / 2",
            "gradient for `scores`.*partly detached",
        ),
        (
            "r = torch.arange(len(scores))\nreturn ((F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)) / 2).item()",
            "`.item\\(\\)` cuts off the gradient",
        ),
        (
            "r = torch.arange(len(scores))\nreturn (F.cross_entropy(scores.softmax(1), r) + F.cross_entropy(scores.T.softmax(1), r)) / 2",
            "one softmax too many",
        ),
        (
            "p = scores.softmax(1)\nr = torch.arange(len(scores))\nreturn (F.cross_entropy(p, r) + F.cross_entropy(p.T, r)) / 2",
            "makes the softmax itself",
        ),
        ("return -scores.diagonal().mean()", "softmax is missing"),
        ("return -scores.softmax(1).diagonal().log().mean()", "rows only"),
        (
            "return -(scores.log_softmax(1).diagonal() + scores.log_softmax(0).diagonal()).sum() / 2",
            "sum over the pictures",
        ),
        ("return (scores.log_softmax(1).diagonal().mean() + scores.log_softmax(0).diagonal().mean()) / 2", "[Ss]ign"),
        (
            "return -(scores.log_softmax(1).diagonal() + scores.log_softmax(0).diagonal()) / 2",
            "mean over axis 0 is still",
        ),
        ("return -scores.flatten().log_softmax(0).view_as(scores).diagonal().mean()", "over the whole table"),
        (
            "return -(scores.softmax(1).diagonal().mean() + scores.softmax(0).diagonal().mean()) / 2",
            "Probabilities, not their logarithms",
        ),
        (
            "r = torch.zeros(len(scores), dtype=torch.long)\nreturn (F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)) / 2",
            "column 0",
        ),
        ("return F.mse_loss(scores, torch.eye(len(scores)))", "by their squares"),
        ("return F.binary_cross_entropy_with_logits(scores, torch.eye(len(scores)))", "yes or no"),
        ("return F.cross_entropy(scores, scores.T)", "differs|should be|fails|differ"),
        (
            "r = torch.arange(len(scores))\nreturn (F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)) / len(scores)",
            "so it is 2",
        ),
        (
            "r = torch.arange(len(scores))\nreturn (F.cross_entropy(scores, r) + F.cross_entropy(scores.T, r)) / 2 / len(scores)",
            "divided by the number of pictures twice",
        ),
        ("return F.cross_entropy(scores, torch.arange(len(scores)).float())", "fails|[Ee]xpected|shapes"),
        (
            "return (F.cross_entropy(scores, torch.arange(len(scores))), F.cross_entropy(scores.T, torch.arange(len(scores))))",
            "tuple of 2",
        ),
        (
            "return F.mse_loss(scores.softmax(1), torch.eye(len(scores)))",
            "Probabilities were compared with 0 and 1 by their squares",
        ),
        (
            "p = scores.softmax(1).diagonal().mean()\nq = scores.softmax(0).diagonal().mean()\nreturn 1 - (p + q) / 2",
            "1 minus the mean probability came out",
        ),
        ("return -(scores.log_softmax(1).mean() + scores.log_softmax(0).mean()) / 2", "All pairs were counted"),
        (
            "right = scores.argmax(1)\nrightT = scores.T.argmax(1)\nreturn (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, rightT)) / 2",
            "What has the largest score was taken to be right",
        ),
        (
            "r = -scores.softmax(1).diagonal().log2().mean()\nc = -scores.softmax(0).diagonal().log2().mean()\nreturn (r + c) / 2",
            "This is the logarithm to base 2",
        ),
        (
            "right = torch.arange(len(scores))\nreturn (F.cross_entropy(scores, right) + F.cross_entropy(scores.flip(0), right)) / 2",
            "The rows were turned upside down",
        ),
        (
            "right = torch.arange(len(scores))\nscores = scores / 0.07\nreturn (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2",
            "The scores were divided by CLIP's temperature, 0\\.07",
        ),
        (
            "s = F.normalize(scores, dim=1)\nright = torch.arange(len(scores))\nreturn (F.cross_entropy(s, right) + F.cross_entropy(s.T, right)) / 2",
            "Rows of scores were given the length 1",
        ),
        (
            "right = torch.arange(len(scores))\nreturn torch.tensor((F.cross_entropy(scores, right).item() + F.cross_entropy(scores.T, right).item()) / 2)",
            "`\\.item\\(\\)` cuts it off",
        ),
        (
            "right = torch.arange(len(scores))\nreturn F.cross_entropy((scores + scores.T) / 2, right)",
            "The table and its transpose were averaged before the softmax",
        ),
    ],
    "7.3": [
        ("return (q @ k.transpose(1, 2)).softmax(-1) @ v", "not divided by √d"),
        ("return (q @ k.transpose(1, 2) / 2**0.5).softmax(-1) @ v", "√2 is written down"),
        ("return (q @ k.transpose(1, 2) / 3**0.5).softmax(-1) @ v", "√3 is written down"),
        ("return (q @ k.transpose(1, 2) / k.shape[1] ** 0.5).softmax(-1) @ v", "√M"),
        ("return (q @ k.transpose(1, 2) / q.shape[1] ** 0.5).softmax(-1) @ v", "√N"),
        ("return (q @ k.transpose(1, 2) / len(q) ** 0.5).softmax(-1) @ v", "number of pictures"),
        ("return (q @ k.transpose(1, 2) / q.shape[-1]).softmax(-1) @ v", "its root was asked for|root"),
        ("return (q @ k / q.shape[-1] ** 0.5).softmax(-1) @ v", r"shapes don't fit.*\(2, 3, 5\).*\(2, 4, 5\)"),
        ("return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v", "fails|don't fit"),
        (QKV + "return s.softmax(1) @ v", "goes over the queries"),
        (QKV + "return s.softmax(0) @ v", "over the batch"),
        (QKV + "return s.softmax(-1)", "These are the weights"),
        (QKV + "return s", "These are the scores"),
        (QKV + "return s @ v", "softmax is missing"),
        (QKV + "return s.softmax(-1) @ k", "keys were mixed"),
        (QKV + "return s.softmax(-1) @ v.transpose(1, 2)", "shapes don't fit"),
        (QKV + "return s.softmax(-1) * v", "don't fit"),
        (QKV + "return s.sigmoid() @ v", "[Ss]igmoid"),
        (QKV + "return s.exp() @ v", "don't sum to 1"),
        ("return (q @ k.mT).softmax(-1) / q.shape[-1] ** 0.5 @ v", "after the softmax"),
        ("return (q @ k.mT * q.shape[-1] ** 0.5).softmax(-1) @ v", "divided"),
        ("return (q @ k.mT / torch.sqrt(q.shape[-1])).softmax(-1) @ v", "takes a tensor"),
        (
            "w = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT\nreturn w.softmax(-1) @ v",
            "Cosines were taken",
        ),
        ("return v.mean(1, keepdim=True).expand(q.shape)", "same weight"),
        ("return F.scaled_dot_product_attention(k, q, v)", "axis 1 has 4 instead of 3"),
        ("return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).sum(1)", "sum was taken over axis 1"),
        ("return F.scaled_dot_product_attention(q, v, k)", "changed places"),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nreturn (s @ v).softmax(-1)",
            "The softmax came last, over the answer",
        ),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nreturn q + s.softmax(-1) @ v",
            "`q` was added to the right answer",
        ),
        ("return F.scaled_dot_product_attention(q, k, v, is_causal=True)", "Later tokens are masked"),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nreturn (s / s.sum(-1, keepdim=True)) @ v",
            "The scores were divided by their sum",
        ),
        (
            "kt = k.reshape(k.shape[0], k.shape[2], k.shape[1])\nreturn (q @ kt / q.shape[-1] ** 0.5).softmax(-1) @ v",
            "`view` and `reshape` cut the keys anew",
        ),
    ],
    "7.4": [
        (
            QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), torch.nan).softmax(-1) @ v",
            "nan of the whole row",
        ),
        (QKV + "return (s - torch.ones_like(s).triu(1) * torch.inf).softmax(-1) @ v", "use `masked_fill`"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -10).softmax(-1) @ v", "−10 still"),
        (QKV + "return s.softmax(-1) @ v", "mask is missing"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(0).bool(), -torch.inf).softmax(-1) @ v", "look at itself"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu().bool(), -torch.inf).softmax(-1) @ v", "look at itself"),
        (
            QKV + "return s.masked_fill(torch.ones_like(s).tril(-1).bool(), -torch.inf).softmax(-1) @ v",
            "other way round",
        ),
        (
            QKV + "return s.masked_fill(torch.ones_like(s).tril().bool(), -torch.inf).softmax(-1) @ v",
            "What may be seen",
        ),
        (
            QKV + "return s.masked_fill(torch.ones_like(s).triu(2).bool(), -torch.inf).softmax(-1) @ v",
            "one token too late",
        ),
        (QKV + "return s.softmax(-1).tril() @ v", "before the softmax"),
        (QKV + "return s.softmax(-1).masked_fill(torch.ones_like(s).triu(1).bool(), 0) @ v", "before the softmax"),
        (
            QKV + "return s.softmax(-1).masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf) @ v",
            "among the scores, before it",
        ),
        (QKV + "return s.tril().softmax(-1) @ v", "0 is still a score"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), 0).softmax(-1) @ v", "0 is still a score"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), torch.inf).softmax(-1) @ v", "\\+∞"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -1).softmax(-1) @ v", "−1 still gets"),
        (
            "s = q @ k.mT\nreturn s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(-1) @ v",
            "not divided by √d",
        ),
        (
            QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(1) @ v",
            "over the queries",
        ),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf) @ v", "softmax|nan|infinity"),
        (
            QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(-1)",
            "These are the weights",
        ),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf).softmax(-1) @ k", "`k`|keys"),
        (QKV + "return s.masked_fill(torch.ones_like(s).triu(1), -torch.inf).softmax(-1) @ v", "fails|bool"),
        (QKV + "return s.softmax(-1) @ v.tril()", "values were masked"),
        (QKV + "return s.triu(1).softmax(-1) @ v", "differ|score|row"),
        (
            QKV + "mask = torch.ones(4, 4).triu(1).bool()\nreturn s.masked_fill(mask, -torch.inf).softmax(-1) @ v",
            "don't fit",
        ),
        (
            QKV + "s.masked_fill(torch.ones_like(s).triu(1).bool(), -torch.inf)\nreturn s.softmax(-1) @ v",
            "mask is missing",
        ),
        ("return v.cumsum(1) / torch.arange(1, v.shape[1] + 1)[:, None]", "count the same"),
        (
            QKV + "return s.masked_fill(torch.ones(len(q), len(q)).triu(1).bool(), -torch.inf).softmax(-1) @ v",
            "don't fit",
        ),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nout = torch.zeros_like(v)\nfor n in range(q.shape[1]):\n    wts = s[:, n, :n].softmax(-1)\n    out[:, n] = (wts[:, None] @ v[:, :n])[:, 0]\nreturn out",
            "A token may look at itself, too",
        ),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nwts = s.softmax(-1).tril()\nreturn wts.softmax(-1) @ v",
            "There is a second softmax, over weights",
        ),
        (
            "s = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\nreturn (s[:, -1:].softmax(-1) @ v).expand_as(v)",
            "All tokens got the answer of the last one, which sees",
        ),
    ],
    "7.5": [
        (ASK + "return without + (s - 1) * (with_prompt - without)", "s − 1 times"),
        ("return model(x, t, prompt)", "`empty` is never used"),
        (ASK + "return with_prompt + s * (without - with_prompt)", "changed places"),
        (ASK + "return with_prompt + s * (with_prompt - without)", "start from the one without"),
        (ASK + "return (1 + s) * with_prompt - s * without", "start from the one without"),
        (ASK + "return s * (with_prompt - without)", "Only the difference"),
        (ASK + "return with_prompt", "`s` has no effect"),
        (ASK + "return without", "without the prompt"),
        (ASK + "return without + s * with_prompt", "the whole difference"),
        (ASK + "return without + s * (without - with_prompt)", "wrong way round|changed places"),
        (ASK + "return without + (with_prompt - without) / s", "taken `s` times"),
        (ASK + "return without + with_prompt - without * s", "differ|bracket|Bracket|changed|belongs"),
        (ASK + "return (without + with_prompt) / 2", "mean of both"),
        ("return model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))", "two halves apart"),
        (
            "a, b = model(x, t, empty), model(x, t, prompt)\nreturn a + s * (b - a)",
            "must be called once; it was called 2 times",
        ),
        (
            "twice = [i.repeat_interleave(2, 0) for i in (x, t)]\na, b = model(*twice, torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "don't belong together",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nreturn both[::2] + s * (both[1::2] - both[::2])",
            "in turns",
        ),
        (
            "a, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt[:1].expand_as(prompt)])).chunk(2)\nreturn a + s * (b - a)",
            "first prompt",
        ),
        (
            "a, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([prompt, empty])).chunk(2)\nreturn a + s * (b - a)",
            "changed places",
        ),
        (
            "a, b = model(torch.cat([x, x]), t, torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "given as `t`|`t`",
        ),
        (
            "a, b = model(x, t, torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "`model` is given|given as",
        ),
        (
            "a, b = model(torch.cat([t, t]), torch.cat([x, x]), torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "`x` and `t` have changed places",
        ),
        (
            "a, b = model(torch.cat([x, x]), torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            r"takes \(x, t, context\); it was called with 2",
        ),
        ("return model(x, t, empty + s * (prompt - empty))", "embeddings were guided"),
        (
            "a, b = model(torch.cat([x, x], 1), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "`x`",
        ),
        (ASK + "return without + s * (with_prompt - without).mean()", "differ|row|mean"),
        (ASK + "return [without + s * (with_prompt - without)]", "a list of 1"),
        (ASK + "return without + 3 * (with_prompt - without)", "never used"),
        (
            "both = model(x, t, torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\nreturn without + s * (with_prompt - without)",
            "What `model` is given as `x` is wrong: the shape is \\(2, 3,",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2, 1)\nreturn without + s * (with_prompt - without)",
            "The answer was cut along axis 1, the channels",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\nreturn s * with_prompt - without",
            "This is `s` times the prediction with the prompt minus the",
        ),
        (
            "both = model(x.repeat_interleave(2, 0), t.repeat_interleave(2), torch.cat([empty, prompt]))\nwithout, with_prompt = both[::2], both[1::2]\nreturn without + s * (with_prompt - without)",
            "The rows were repeated one by one, and the prompts as a",
        ),
        (
            "out = model(x, t, torch.cat([empty, prompt], 1))\nreturn s * out",
            "`model` was given `x` as it came in, of shape",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\nreturn torch.lerp(without, with_prompt, min(s, 1.0))",
            "`s` is cut off at 1",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\ng = without + s * (with_prompt - without)\nreturn g * with_prompt.std() / g.std()",
            "The result was scaled back to the standard deviation of the",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both[0], both[1]\nreturn without + s * (with_prompt - without)",
            "Of the answer the first two rows were taken",
        ),
        (
            "nothing = torch.zeros_like(prompt)\na, b = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([nothing, prompt])).chunk(2)\nreturn a + s * (b - a)",
            "Zeros stand in the place of `empty`",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\nif t.max() >= 800:\n    return with_prompt\nreturn without + s * (with_prompt - without)",
            "At t ≥ 800 the prompt is followed plainly, a refinement",
        ),
        (
            "both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))\nwithout, with_prompt = both.chunk(2)\nreturn x - (without + s * (with_prompt - without))",
            "It is `x` minus the right answer",
        ),
    ],
}

"""Answers to the exercises of lesson 04: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

GUESS = "x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5\n"
MIX = "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps"
ALPHA = "alpha = a / a_next\n"
MEAN = "mean = (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5\n"
SIGMA = "sigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\n"
LOOP = "for i, t in enumerate(visited):\n    a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]\n"
DRAW = "torch.randn(x.shape, generator=random)"
LAMBDA = "b, h, n = (math.log(k / (1 - k)) / 2 for k in (a_before, a, a_next))\n"
MIDDLE = "m = x0 + (n - h) / 2 * (x0 - x0_before) / (h - b)\n"
REST = "eps = (x - a**0.5 * m) / (1 - a) ** 0.5\nreturn a_next**0.5 * m + (1 - a_next) ** 0.5 * eps"

RIGHT = {
    "4.1": [
        "r = (a_next / a) ** 0.5\nreturn r * x + ((1 - a_next) ** 0.5 - r * (1 - a) ** 0.5) * eps",
        "import math\nx0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)\nreturn math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * eps",
        "a, b = torch.tensor(a), torch.tensor(a_next)\nx0 = (x - (1 - a).sqrt() * eps) * a.rsqrt()\nreturn b.sqrt() * x0 + (1 - b).sqrt() * eps",
        "import numpy as np\nx0 = (x.numpy() - np.sqrt(1 - a) * eps.numpy()) / np.sqrt(a)\nreturn torch.from_numpy(np.sqrt(a_next) * x0 + np.sqrt(1 - a_next) * eps.numpy())",
        "x, eps = x.double(), eps.double()\n" + GUESS + MIX,
        "rows = []\nfor one, noise in zip(x, eps):\n    guess = (one - (1 - a) ** 0.5 * noise) / a**0.5\n    rows.append(a_next**0.5 * guess + (1 - a_next) ** 0.5 * noise)\nreturn torch.stack(rows)",
        "s = (1 / a - 1) ** 0.5\nt = (1 / a_next - 1) ** 0.5\nreturn a_next**0.5 * (x / a**0.5 + (t - s) * eps)",
    ],
    "4.2": [
        GUESS
        + "beta = 1 - a / a_next\n"
        + "mean = (a_next**0.5 * beta * x0 + (1 - beta) ** 0.5 * (1 - a_next) * x) / (1 - a)\n"
        + "return mean + (beta * (1 - a_next) / (1 - a)) ** 0.5 * z",
        GUESS
        + "s2 = (1 - a_next) / (1 - a) * (1 - a / a_next)\n"
        + "return a_next**0.5 * x0 + max(1 - a_next - s2, 0) ** 0.5 * eps + s2**0.5 * z",
        "import math\nalpha = a / a_next\nbeta = 1 - alpha\nmean = x / math.sqrt(alpha) - beta / math.sqrt((1 - a) * alpha) * eps\nreturn mean + math.sqrt(beta * (1 - a_next) / (1 - a)) * z",
        "a, b = torch.tensor(a).double(), torch.tensor(a_next).double()\nalpha = a / b\n"
        + "mean = (x - (1 - alpha) * eps / (1 - a).sqrt()) / alpha.sqrt()\nreturn torch.addcmul(mean, ((1 - b) / (1 - a) * (1 - alpha)).sqrt(), z.double())",
        "import numpy as np\nalpha = a / a_next\nmean = (x.numpy() - (1 - alpha) / np.sqrt(1 - a) * eps.numpy()) / np.sqrt(alpha)\nreturn torch.tensor(mean + np.sqrt((1 - a_next) / (1 - a) * (1 - alpha)) * z.numpy())",
        GUESS
        + "alpha = a / a_next\np, q = alpha / (1 - alpha), 1 / (1 - a_next) if a_next < 1 else float('inf')\n"
        + "if a_next == 1:\n    return x0\nmean = (p * x / alpha**0.5 + q * a_next**0.5 * x0) / (p + q)\nreturn mean + (p + q) ** -0.5 * z",
    ],
    "4.3": [
        "for t, a, a_next in zip(visited, alphas_cumprod, alphas_cumprod[1:]):\n"
        "    eps = take_apart(x, t, a)[2]\n"
        f"    x = step(x, eps, {DRAW}, a, a_next)\n"
        "return x",
        f"for i in range(len(visited)):\n    eps = take_apart(x, visited[i], alphas_cumprod[i])[-1]\n    x = step(x, eps, {DRAW}, *alphas_cumprod[i : i + 2])\nreturn x",
        "i = 0\nwhile i < len(visited):\n    noise, x0, eps = take_apart(x=x, t=visited[i], a=alphas_cumprod[i])\n"
        "    z = torch.empty(x.shape).normal_(generator=random)\n    x = step(x=x, eps=eps, z=z, a=alphas_cumprod[i], a_next=alphas_cumprod[i + 1])\n    i += 1\nreturn x",
        "import itertools\nfor t, (a, b) in zip(visited, itertools.pairwise(alphas_cumprod)):\n    z = torch.randn(*x.shape, generator=random)\n    x = step(x, take_apart(x, t, a)[2], z, a, b)\nreturn x",
        "from functools import reduce\ndef one(x, i):\n    a, b = alphas_cumprod[i], alphas_cumprod[i + 1]\n"
        f"    return step(x, take_apart(x, visited[i], a)[2], {DRAW}, a, b)\nreturn reduce(one, range(len(visited)), x)",
        "if not visited:\n    return x\na, b = alphas_cumprod[:2]\n"
        f"x = step(x, take_apart(x, visited[0], a)[2], {DRAW}, a, b)\nfor i in range(1, len(visited)):\n"
        f"    a, b = alphas_cumprod[i], alphas_cumprod[i + 1]\n    x = step(x, take_apart(x, visited[i], a)[2], {DRAW}, a, b)\nreturn x",
        f"zs = [{DRAW} for _ in visited]\nfor z, t, a, b in zip(zs, visited, alphas_cumprod, alphas_cumprod[1:]):\n    x = step(x, take_apart(x, t, a)[2], z, a, b)\nreturn x",
    ],
    "4.4": [
        LAMBDA + MIDDLE + REST,
        "def snr(k):\n    return k / (1 - k)\nr = math.log(snr(a_next) / snr(a)) / math.log(snr(a) / snr(a_before)) / 2\n"
        "m = (1 + r) * x0 - r * x0_before\n" + REST,
        "import numpy as np\nb, h, n = np.log(np.sqrt(np.array([a_before, a, a_next]) / (1 - np.array([a_before, a, a_next]))))\n"
        "m = x0.numpy() + 0.5 * (n - h) / (h - b) * (x0 - x0_before).numpy()\neps = (x.numpy() - a**0.5 * m) / (1 - a) ** 0.5\n"
        "return torch.from_numpy(a_next**0.5 * m + (1 - a_next) ** 0.5 * eps)",
        "l = torch.tensor([a_before, a, a_next], dtype=torch.float64).logit() / 2\n"
        "m = torch.lerp(x0_before.double(), x0.double(), (1 + (l[2] - l[1]) / 2 / (l[1] - l[0])).item())\n" + REST,
        LAMBDA
        + "d = x0 + (n - h) / (2 * (h - b)) * (x0 - x0_before)\n"
        + "return ((1 - a_next) / (1 - a)) ** 0.5 * x - a_next**0.5 * (math.exp(h - n) - 1) * d",
        "def lam(k):\n    return math.log(math.sqrt(k) / math.sqrt(1 - k))\nspeed = (x0 - x0_before) / (lam(a) - lam(a_before))\n"
        "m = x0 + speed * (lam(a_next) - lam(a)) / 2\n" + REST,
        "b, h, n = (math.log2(k / (1 - k)) for k in (a_before, a, a_next))\nrows = []\n"
        "for one, new, old in zip(x, x0, x0_before):\n    m = new + (n - h) / 2 * (new - old) / (h - b)\n"
        "    rows.append(a_next**0.5 * m + (1 - a_next) ** 0.5 * (one - a**0.5 * m) / (1 - a) ** 0.5)\nreturn torch.stack(rows)",
    ],
}  # fmt: skip

WRONG = {
    "4.1": [
        ("return (x - (1 - a) ** 0.5 * eps) / a**0.5", "[Tt]hat is the guess"),
        ("return a_next**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5", "term .*ε.* is missing"),
        ("x0 = (x - a**0.5 * eps) / (1 - a) ** 0.5\nreturn (1 - a_next) ** 0.5 * x0 + a_next**0.5 * eps", "1 - ᾱ have changed"),
        ("x0 = (x - (1 - a) * eps) / a\nreturn a_next * x0 + (1 - a_next) * eps", "[Ss]quare roots"),
        (GUESS + "return a**0.5 * x0 + (1 - a) ** 0.5 * eps", "as it went in"),
        (GUESS + "x0 = x0.clamp(-1, 1)\n" + MIX, "cut off at -1 and 1"),
        ("x0 = (x - (1 - a) * eps) / a\n" + MIX, "In the guess"),
        (GUESS + "return (a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps).clamp(-1, 1)", "clamped"),
        ("a, a_next = a_next, a\n" + GUESS + MIX, "`ᾱ` and `ᾱ_next` have changed places"),
        ("x0 = (x - (1 - a**0.5) * eps) / a**0.5\nreturn a_next**0.5 * x0 + (1 - a_next**0.5) * eps", "1 - √ᾱ is something else"),
        ("x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5\nreturn a_next * x0 + (1 - a_next) * eps", "In the mixture"),
        ("x0 = x - (1 - a) ** 0.5 * eps\n" + MIX, "without dividing by √ᾱ"),
        ("x0 = (x + (1 - a) ** 0.5 * eps) / a**0.5\n" + MIX, "subtracted"),
        (GUESS + "return a_next**0.5 * x0 - (1 - a_next) ** 0.5 * eps", "added"),
        (GUESS + "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * x", "mixture already"),
        (GUESS + "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * torch.randn_like(x)", "random numbers of its own"),
        ("x0 = (x - (1 - a_next) ** 0.5 * eps) / a_next**0.5\n" + MIX, "Take apart with"),
        ("x0 = (x - torch.sqrt(1 - a) * eps) / torch.sqrt(a)\n" + MIX, "takes a tensor"),
        ("x -= (1 - a) ** 0.5 * eps\nx /= a**0.5\nreturn a_next**0.5 * x + (1 - a_next) ** 0.5 * eps", "changed in place"),
        (GUESS + "return a_next**0.5 * x0, (1 - a_next) ** 0.5 * eps", "A tensor was asked for"),
        (GUESS + "return a_next**0.5 * x0 + eps", "factor .* is missing"),
        ('return x - ((1 - a) ** 0.5 - (1 - a_next) ** 0.5) * eps', "Only the noise's share was changed"),
        ('x0 = (x - (1 - a) ** 1/2 * eps) / a ** 1/2\nreturn a_next ** 1/2 * x0 + (1 - a_next) ** 1/2 * eps', 'Half was taken where a square root belongs'),
        ('alpha = a / a_next\nreturn alpha ** 0.5 * x + (1 - alpha) ** 0.5 * eps', 'This adds noise'),
        ('alpha = a / a_next\nreturn (x - (1 - alpha) ** 0.5 * eps) / alpha ** 0.5', "This undoes lesson 02's step as if ε had come in by that ste"),
        ('alpha = a / a_next\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha ** 0.5', "That is the mean of DDPM's step"),
        ('x0 = (x - (1 - a) ** 0.5 * eps) / a ** 0.5\nreturn x + (a_next - a) * (x0 - x)', 'This goes a part of the way from x to the guess'),
        ('x0 = (x - (1 - a) ** 0.5 * eps) / a ** 0.5\nnew = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))\nreturn a_next ** 0.5 * x0 + (1 - a_next) ** 0.5 * new', 'It makes random numbers of its own'),
    ],
    "4.2": [
        (ALPHA + "return (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5", "fresh noise is missing"),
        (ALPHA + SIGMA + "return x - (1 - alpha) / (1 - a) ** 0.5 * eps + sigma * z", "division by"),
        (ALPHA + MEAN + "return mean + (1 - a_next) / (1 - a) * (1 - alpha) * z", "σ² was used"),
        (ALPHA + MEAN + "return mean + (1 - alpha) ** 0.5 * z", "The mean is right"),
        ("mean = (x - (1 - a) / (1 - a) ** 0.5 * eps) / a**0.5\nreturn mean + ((1 - a_next) / (1 - a) * (1 - a)) ** 0.5 * z", "ᾱ itself was used"),
        ("alpha = 1 - a\n" + MEAN + SIGMA + "return mean + sigma * z", "1 - ᾱ was used"),
        ("alpha = a_next / a\n" + MEAN + SIGMA + "return mean + sigma * z", "changed places|Complex"),
        ("alpha = a_next - a\n" + MEAN + SIGMA + "return mean + sigma * z", "not the difference"),
        (ALPHA + MEAN + SIGMA + "return mean + z", "without σ"),
        (ALPHA + MEAN + "return mean + (1 - a_next) ** 0.5 * z", "all the noise that belongs"),
        (ALPHA + MEAN + SIGMA + "return mean + sigma * torch.randn_like(x)", "random numbers of its own"),
        (ALPHA + MEAN + SIGMA + "return mean + sigma * eps", "`ε` was used where `z` belongs"),
        (ALPHA + MEAN + "sigma = ((1 - a) / (1 - a_next) * (1 - alpha)) ** 0.5\nreturn mean + sigma * z", "changed places|divides by zero"),
        (ALPHA + "mean = (x - (1 - alpha) / (1 - a) * eps) / alpha**0.5\n" + SIGMA + "return mean + sigma * z", "square root is missing"),
        (ALPHA + "mean = (x - (1 - alpha) / (1 - alpha) ** 0.5 * eps) / alpha**0.5\n" + SIGMA + "return mean + sigma * z", "In the bracket|`α` was used where"),
        (ALPHA + "mean = x / alpha**0.5 - (1 - alpha) / (1 - a) ** 0.5 * eps\n" + SIGMA + "return mean + sigma * z", "The whole"),
        (ALPHA + "mean = (x - (1 - alpha) ** 0.5 * eps) / alpha**0.5\n" + SIGMA + "return mean + sigma * z", "In the bracket"),
        (GUESS + "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps", "z.* is never used"),
        (GUESS + ALPHA + SIGMA + "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps + sigma * z", "DDIM's step with z on top"),
        (GUESS + "return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * z", "all of the old"),
        (ALPHA + "mean = (x - (1 - alpha) / (1 - a) ** 0.5 * z) / alpha**0.5\n" + SIGMA + "return mean + sigma * eps", "`ε` and `z` have changed places"),
        (ALPHA + MEAN + SIGMA + "return mean - sigma * z", "added"),
        ('alpha = a_next / a\nsigma = ((1 - a_next) / (1 - a) * abs(1 - alpha)) ** 0.5\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha ** 0.5 + sigma * z', 'α is what one step keeps'),
        ('alpha = a / a_next\nsigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps + sigma * z) / alpha ** 0.5', 'The fresh noise stands inside the bracket'),
        ('beta = a_next - a\nalpha = 1 - beta\nsigma = ((1 - a_next) / (1 - a) * beta) ** 0.5\nreturn (x - beta / (1 - a) ** 0.5 * eps) / alpha ** 0.5 + sigma * z', 'α is what one step keeps'),
        ('alpha = a / a_next\nsv, gv = (1 - alpha) / alpha, 1 - a_next\nx0 = (x - (1 - a) ** 0.5 * eps) / a ** 0.5\ntrust = (1 / gv) / (1 / sv + 1 / gv)\nreturn trust * x / alpha ** 0.5 + (1 - trust) * a_next ** 0.5 * x0 + (1 / sv + 1 / gv) ** -0.5 * z', 'The trust in the two witnesses has changed places'),
        ('alpha = a / a_next\nsigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\nx0 = (x - (1 - a) ** 0.5 * eps) / a ** 0.5\nreturn a_next ** 0.5 * x0 + sigma * z', 'None of the old noise is left in it'),
        ('alpha = a / a_next\nsigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 1/2\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha ** 0.5 + sigma * z', 'Half was taken where a square root belongs'),
        ('alpha = a / a_next\nsigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\nreturn ((x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha ** 0.5 + z) * sigma', 'σ multiplies the mean'),
        ('alpha = a_next\nsigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5\nreturn (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha ** 0.5 + sigma * z', 'α is what one step keeps'),
    ],
    "4.3": [
        (f"for i in reversed(range(len(visited))):\n    eps = take_apart(x, visited[i], alphas_cumprod[i])[2]\n    x = step(x, eps, {DRAW}, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x", "[Bb]egin with the noisiest step"),
        (f"z = {DRAW}\n" + LOOP + "    x = step(x, take_apart(x, t, a)[2], z, a, a_next)\nreturn x", "new one inside the loop"),
        (LOOP + f"    last = step(x, take_apart(x, t, a)[2], {DRAW}, a, a_next)\nreturn last", "where the one before ended"),
        (LOOP + f"    x = step(x, take_apart(x, t, a)[0], {DRAW}, a, a_next)\nreturn x", "the third"),
        (LOOP + f"    x = step(x, take_apart(x, t, a)[1], {DRAW}, a, a_next)\nreturn x", "the second, the guess"),
        ("first = x\n" + LOOP + f"    x = step(x, take_apart(first, t, a)[2], {DRAW}, a, a_next)\nreturn x", "first picture was taken apart"),
        ("first = x\n" + LOOP + f"    x = step(first, take_apart(x, t, a)[2], {DRAW}, a, a_next)\nreturn x", "`step` got the first"),
        (LOOP + "    x = step(x, take_apart(x, t, a)[2], torch.randn_like(x), a, a_next)\nreturn x", "random numbers of its own"),
        (LOOP + "    x = step(x, take_apart(x, t, a)[2], torch.randn(x.shape), a, a_next)\nreturn x", "random numbers of its own"),
        (LOOP + f"    x = step(x, take_apart(x, t, a)[2], {DRAW}, a_next, a)\nreturn x", "`ᾱ` and `ᾱ_next` have changed places"),
        (LOOP + f"    x = step(x, take_apart(x, t, a_next)[2], {DRAW}, a, a_next)\nreturn x", "`ᾱ_next` was used where `ᾱ` belongs"),
        (LOOP + f"    x = step(x, take_apart(x, i, a)[2], {DRAW}, a, a_next)\nreturn x", "how many steps have been taken"),
        (LOOP + "    x = step(x, take_apart(x, t, a)[2], torch.zeros_like(x), a, a_next)\nreturn x", "z was 0"),
        (LOOP + f"    x = step(x, take_apart(x, t, a)[2], {DRAW}, a, a_next)\n    return x", "`return` inside the loop"),
        (LOOP + f"    x = step(x, take_apart(x, t, a), {DRAW}, a, a_next)\nreturn x", "needs? the third"),
        (LOOP + f"    x = step(x, take_apart(x, a, t)[2], {DRAW}, a, a_next)\nreturn x", "`t` and `a` have changed places"),
        (LOOP + "    x = step(x, take_apart(x, t, a)[2], a, a_next)\nreturn x", "takes .x, eps, z, a, a_next."),
        (LOOP + f"    x = step(take_apart(x, t, a)[2], x, {DRAW}, a, a_next)\nreturn x", "changed places"),
        (f"for i in range(len(visited) - 1):\n    x = step(x, take_apart(x, visited[i], alphas_cumprod[i])[2], {DRAW}, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x", "leaves out the last"),
        (f"for i, t in enumerate(visited):\n    a, a_next = alphas_cumprod[i], alphas_cumprod[i - 1]\n    x = step(x, take_apart(x, t, a)[2], {DRAW}, a, a_next)\nreturn x", "entry after"),
        (f"for i in range(len(alphas_cumprod)):\n    x = step(x, take_apart(x, visited[i], alphas_cumprod[i])[2], {DRAW}, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x", "out of range"),
        ("films = []\n" + LOOP + f"    x = step(x, take_apart(x, t, a)[2], {DRAW}, a, a_next)\n    films.append(x)\nreturn films", "A tensor was asked for"),
        ("seed = random.get_state()\n" + LOOP + f"    random.set_state(seed)\n    x = step(x, take_apart(x, t, a)[2], {DRAW}, a, a_next)\nreturn x", "not set back"),
        (LOOP + f"    take_apart(x, t, a)\n    x = x - {DRAW}\nreturn x", "`step` is never called"),
        ('for i, t in enumerate(visited):\n    _, x0, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x.shape, generator=random)\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x0', 'The last guess is returned'),
        ('for i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x.shape, generator=random.manual_seed(0))\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', '`step` is given the same `z` in every call'),
        ('x = torch.randn(x.shape, generator=random)\nfor i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x.shape, generator=random)\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', 'The walk begins with new noise'),
        ('for i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.rand(x.shape, generator=random)\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', 'z was drawn by `torch\\.rand`'),
        ('for i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x[:1].shape, generator=random)\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', 'What `step` is given as `z` is wrong'),
        ('random = torch.Generator().manual_seed(0)\nfor i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    x = step(x, eps, torch.randn(x.shape, generator=random), alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', 'It makes random numbers of its own'),
        ('for i, t in enumerate(visited):\n    _, _, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x.shape, generator=random)\n    if i == len(visited) - 1:\n        z = torch.zeros_like(x)\n    x = step(x, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', 'In the last step z was 0'),
        ('for i, t in enumerate(visited):\n    _, x0, eps = take_apart(x, t, alphas_cumprod[i])\n    z = torch.randn(x.shape, generator=random)\n    x = step(x0, eps, z, alphas_cumprod[i], alphas_cumprod[i + 1])\nreturn x', '`step` got the guess in place of the noisy picture `x`\\.'),
    ],
    "4.4": [
        (LAMBDA + MIDDLE + "eps = (x - a**0.5 * x0) / (1 - a) ** 0.5\nreturn a_next**0.5 * m + (1 - a_next) ** 0.5 * eps", "its own noise"),
        ("m = x0\n" + REST, "never used|guess before was not used"),
        (LAMBDA + "m = x0 + (n - h) * (x0 - x0_before) / (h - b)\n" + REST, "end of the step"),
        (LAMBDA + "m = x0 + (n - h) / 2 * (x0_before - x0) / (h - b)\n" + REST, "backwards"),
        (LAMBDA + "m = x0_before + (n - h) / 2 * (x0 - x0_before) / (h - b)\n" + REST, "newer guess"),
        ("m = x0 + 0.5 * (x0 - x0_before)\n" + REST, "equally long"),
        ("m = (3 * x0 - x0_before) / 2\n" + REST, "equally long"),
        (LAMBDA + "m = x0 + (h - b) / 2 * (x0 - x0_before) / (n - h)\n" + REST, "lengths of the two steps have changed"),
        ("m = x0 + (a_next - a) / 2 * (x0 - x0_before) / (a - a_before)\n" + REST, "measured in ᾱ"),
        ("b, h, n = (k / (1 - k) for k in (a_before, a, a_next))\n" + MIDDLE + REST, "λ is a logarithm"),
        ("b, h, n = (math.log(k) for k in (a_before, a, a_next))\n" + MIDDLE + REST, "logarithm of ᾱ was taken"),
        (LAMBDA + MIDDLE + "m = m.clamp(-1, 1)\n" + REST, "cut off"),
        (LAMBDA + MIDDLE + "return m", "guess for the middle. The step goes on"),
        (LAMBDA + MIDDLE + "eps = (x - a * m) / (1 - a)\nreturn a_next * m + (1 - a_next) * eps", "[Ss]quare roots"),
        (LAMBDA + MIDDLE + "eps = (x - (1 - a) ** 0.5 * m) / a**0.5\nreturn a_next**0.5 * m + (1 - a_next) ** 0.5 * eps", "have changed places"),
        (LAMBDA + MIDDLE + "eps = (x - a**0.5 * m) / (1 - a) ** 0.5\nreturn a_next**0.5 * m", "term .* is missing"),
        (LAMBDA + MIDDLE + "eps = (x - a**0.5 * m) / (1 - a) ** 0.5\nreturn a**0.5 * m + (1 - a) ** 0.5 * eps", "comes out as it went in"),
        (LAMBDA + "x0, x0_before = x0_before, x0\n" + MIDDLE + REST, "`x̂₀` and `x̂₀_before` have changed places"),
        ("b, h, n = (math.log(k / (1 - k)) for k in (a_next, a, a_before))\n" + MIDDLE + REST, "changed"),
        ("b, h, n = (torch.log(k / (1 - k)) for k in (a_before, a, a_next))\n" + MIDDLE + REST, "takes a tensor"),
        (LAMBDA + "m = x0 + (x0 - x0_before) / (h - b)\n" + REST, "factor .* is missing"),
        ("m = x0_before\n" + REST, "older of the two|never used"),
        ('mid = (x0 + x0_before) / 2\neps = (x - a ** 0.5 * mid) / (1 - a) ** 0.5\nreturn a_next ** 0.5 * mid + (1 - a_next) ** 0.5 * eps', 'That is the mean of both guesses'),
        ('import math\nlb, l, ln = (0.5 * math.log(v) / (1 - v) for v in (a_before, a, a_next))\nmid = x0 + (ln - l) / 2 * (x0 - x0_before) / (l - lb)\neps = (x - a ** 0.5 * mid) / (1 - a) ** 0.5\nreturn a_next ** 0.5 * mid + (1 - a_next) ** 0.5 * eps', 'λ is the logarithm of the whole of ᾱ / \\(1 - ᾱ\\)'),
        ('lb, l, ln = ((1 / v - 1) ** 0.5 for v in (a_before, a, a_next))\nmid = x0 + (ln - l) / 2 * (x0 - x0_before) / (l - lb)\neps = (x - a ** 0.5 * mid) / (1 - a) ** 0.5\nreturn a_next ** 0.5 * mid + (1 - a_next) ** 0.5 * eps', "Steps were measured in Euler's coordinates"),
        ('import math\nlb, l, ln = (0.5 * math.log(v / (1 - v)) for v in (a_before, a, a_next))\nmid = x0 + 0.5 * (ln - l) / 2 * (x0 - x0_before) / (l - lb)\neps = (x - a ** 0.5 * mid) / (1 - a) ** 0.5\nreturn a_next ** 0.5 * mid + (1 - a_next) ** 0.5 * eps', 'The way to the middle was halved twice'),
    ],
}  # fmt: skip

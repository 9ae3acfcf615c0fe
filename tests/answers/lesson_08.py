"""Answers to the exercises of lesson 08: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

RAISE = "if not 0 <= strength <= 1:\n    raise ValueError('strength must be between 0 and 1')\n"
END = "if start == len(visited):\n    return known\n"
T = "t = torch.full((len(known),), visited[start])\n"

RIGHT = {
    "8.1": [
        "if strength < 0 or strength > 1:\n    raise ValueError('strength')\nreturn int(steps - round(strength * steps))",
        "if max(0, min(strength, 1)) != strength:\n    raise ValueError\nreturn steps - int(round(steps * strength))",
        RAISE + "return len(range(round(strength * steps), steps))",
        "import numpy as np\n" + RAISE + "return steps - np.rint(strength * steps).astype(int)",
        RAISE
        + "walked = torch.round(torch.tensor(strength * steps, dtype=torch.float64)).int().item()\nreturn steps - walked",
        "if 0 <= strength <= 1:\n    return steps - round(strength * steps)\nelse:\n    raise ValueError(f'{strength} is outside of 0 to 1')",
        "from fractions import Fraction\n" + RAISE + "return steps - round(Fraction(strength * steps))",
        RAISE + "left = list(range(steps))\nfor _ in range(round(strength * steps)):\n    left.pop()\nreturn len(left)",
    ],
    "8.2": [
        "if start >= len(visited):\n    return known\nt = torch.tensor([visited[start]] * len(known), device=known.device)\nreturn walk(schedule.add_noise(known, noise, t), start)",
        END
        + "a = schedule.alphas_cumprod[visited[start]]\nreturn walk(a.sqrt() * known + (1 - a).sqrt() * noise, start)",
        END + "t = torch.tensor([visited[start]])\nreturn walk(schedule.add_noise(known, noise, t), start)",
        "left = visited[start:]\nif not left:\n    return known\nreturn walk(schedule.add_noise(known, noise, left[0]), start)",
        "try:\n    step = visited[start]\nexcept IndexError:\n    return known.clone()\nreturn walk(x=schedule.add_noise(known, noise, torch.tensor([step]).expand(len(known))), start=start)",
        "if len(visited) - start == 0:\n    return known * 1\nrows = [schedule.add_noise(k[None], n[None], torch.tensor([visited[start]])) for k, n in zip(known, noise)]\nreturn walk(torch.cat(rows), start)",
        "if start < len(visited):\n    t = torch.ones(known.shape[0], dtype=torch.long) * visited[start]\n    known = walk(schedule.add_noise(known, noise, t), start)\nreturn known",
        END
        + "a = float(schedule.alphas_cumprod[visited[start]])\nreturn walk((known.double() * a**0.5 + noise.double() * (1 - a) ** 0.5), start)",
    ],
    "8.3": [
        "return lambda x, t: denoise(x, t) * mask + known * (1 - mask)",
        "def tell(x, t):\n    guess = denoise(x, t).clone()\n    where = (mask == 0).expand_as(guess)\n    guess[where] = known[where]\n    return guess\nreturn tell",
        "return lambda x, t: torch.where(mask.bool(), denoise(x, t), known)",
        "return lambda x, t: known + mask * (denoise(x, t) - known)",
        "def tell(x, t):\n    return denoise(x, t).masked_fill(mask == 0, 0) + known.masked_fill(mask > 0, 0)\nreturn tell",
        "class Tell:\n    def __call__(self, x, t):\n        return torch.where(mask == 0, known, denoise(x, t))\nreturn Tell()",
        "return lambda x, t: torch.lerp(known.double(), denoise(x, t).double(), mask.double())",
        "from functools import partial\ndef tell(m, k, x, t):\n    return m * denoise(x, t) + (1 - m) * k\nreturn partial(tell, mask, known)",
        "from functools import partial\ndef f(told, x, t):\n    return denoise(x, t).lerp(told, 1 - mask)\nreturn partial(f, known)",
    ],
}

WRONG = {
    "8.1": [
        ("return round(strength * steps)", "to be \\*walked\\*"),
        (RAISE + "return round(strength * steps)", "to be \\*walked\\*"),
        (RAISE + "return steps - int(strength * steps)", "cut off"),
        (RAISE + "return steps - int(strength * steps // 1)", "cut off|rounded down"),
        (RAISE + "import math\nreturn steps - math.floor(strength * steps)", "cut off"),
        (RAISE + "import math\nreturn steps - math.ceil(strength * steps)", "rounded up"),
        (RAISE + "return steps - int(strength * steps + 0.5)", "Halves are rounded up"),
        (RAISE + "return round(steps - strength * steps)", "steps left out were rounded"),
        (RAISE + "return round(steps * (1 - strength))", "steps left out were rounded"),
        (RAISE + "return steps - strength * steps", "is an integer"),
        (RAISE + "return float(steps - round(strength * steps))", "not a float|[Ii]nteger|int"),
        (RAISE + "return steps - round(strength) * steps", "strength was rounded"),
        (RAISE + "return steps - round(strength * steps) - 1", "one too early"),
        (RAISE + "return steps - round(strength * steps) + 1", "one too late"),
        ("return steps - round(strength * steps)", "must be raised.*not -0.1.*returns 11"),
        ("return steps - round(min(max(strength, 0), 1) * steps)", "must be raised"),
        (
            "if not 0 < strength < 1:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "of 0 and of 1 are allowed",
        ),
        (
            "if not 0 < strength <= 1:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "strength of 0 is allowed",
        ),
        (
            "if strength < 0 or strength >= 1:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "strength of 1 is allowed",
        ),
        (
            "if strength > 1:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "must be raised.*not -0.1",
        ),
        (
            "if strength < 0:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "must be raised.*not 1.5",
        ),
        (
            "if 0 <= strength <= 1:\n    raise ValueError('no')\nreturn steps - round(strength * steps)",
            "wrong way round",
        ),
        (
            "assert 0 <= strength <= 1\nreturn steps - round(strength * steps)",
            "ValueError must be raised.*AssertionError",
        ),
        (
            "if not 0 <= strength <= 1:\n    return ValueError('no')\nreturn steps - round(strength * steps)",
            "must be raised",
        ),
        (
            "if not 0 <= strength <= 1:\n    print('no')\n    return\nreturn steps - round(strength * steps)",
            "must be raised",
        ),
        (
            "if not 0 <= strength <= 1:\n    raise 'no'\nreturn steps - round(strength * steps)",
            "ValueError must be raised",
        ),
        (RAISE + "return [i for i in range(steps)][-round(strength * steps)]", "index|Index|differ|should be|one"),
        (RAISE + "return torch.tensor(steps - round(strength * steps))", "int\\(...\\) makes one"),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError('strength')\nreturn min(steps - 1, steps - round(steps * strength))",
            "At least one step is walked here",
        ),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError('strength')\nvisited = list(range(999, 0, -1000 // steps))\nreturn visited[-round(steps * strength)]",
            "With `steps` = 12 and `strength` = 0\\.8, it should be 2, and",
        ),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError('strength')\nreturn -round(steps * strength)",
            "It counts from the end, with a minus sign",
        ),
        (
            "if not 0 <= strength <= 1:\n    raise ValueError('strength')\nwalk = max(1, round(steps * strength))\nreturn steps - walk",
            "At least one step is walked here",
        ),
        (
            "if strength < 0 or strength > 1:\n    raise ValueError('no')\nif strength == 0 or strength == 1:\n    return steps\nreturn steps - round(steps * strength)",
            "A strength of 1 walks all the steps, so it begins at index 0",
        ),
    ],
    "8.2": [
        (
            END
            + "t = torch.full((len(known),), visited[start - 1])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "step before",
        ),
        (
            END
            + "t = torch.full((len(known),), visited[-start])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "from the end",
        ),
        (
            END
            + "t = torch.full((len(known),), visited[len(visited) - start - 1])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "counted from the end",
        ),
        (
            END + "t = torch.full((len(known),), start)\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "index itself",
        ),
        (
            END + "t = torch.full((len(known),), visited[0])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "first visited step",
        ),
        (
            END + "t = torch.full((len(known),), visited[-1])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "last visited step",
        ),
        (END + T + "return walk(schedule.add_noise(known, noise, t), 0)", "begins at index 0"),
        (END + T + "return walk(schedule.add_noise(known, noise, t), visited[start])", "given the step itself"),
        (END + T + "return walk(schedule.add_noise(known, noise, t), t)", "given|step"),
        (END + T + "return walk(schedule.add_noise(known, noise, t), start + 1)", "too late"),
        (
            END + T + "return walk(schedule.add_noise(known, noise, t), len(visited) - start)",
            "number of steps that are left",
        ),
        (END + T + "return walk(start, schedule.add_noise(known, noise, t))", "`x` and `start` have changed places"),
        (
            END + T + "return walk(schedule.add_noise(known, noise, t))",
            "takes \\(x, start\\); it was called with 1 argument",
        ),
        (END + T + "return schedule.add_noise(known, noise, t)", "return what `walk` makes"),
        (END + T + "walk(schedule.add_noise(known, noise, t), start)", "returns nothing here"),
        (END + T + "walk(known, start)\nreturn schedule.add_noise(known, noise, t)", "`walk`|noised|differ"),
        (END + "return walk(known, start)", "No noise was added"),
        (END + "return walk(noise, start)", "Only the noise"),
        (END + T + "return walk(schedule.add_noise(noise, known, t), start)", "changed places"),
        (
            END + "a = schedule.alphas_cumprod[visited[start]]\nreturn walk(a * known + (1 - a) * noise, start)",
            "Square roots are missing",
        ),
        (END + "return walk(known + noise, start)", "added as they are"),
        (
            END + "a = schedule.alphas_cumprod[visited[start]]\nreturn walk(known + (1 - a).sqrt() * noise, start)",
            "didn't shrink",
        ),
        (T + "return walk(schedule.add_noise(known, noise, t), start)", "give `known` back"),
        (
            "return walk(schedule.add_noise(known, noise, torch.tensor([visited[start]] * len(known))), start)",
            "give `known` back",
        ),
        (
            "if start == len(visited):\n    return noise\n"
            + T
            + "return walk(schedule.add_noise(known, noise, t), start)",
            "the noise came back",
        ),
        (
            "if start == len(visited):\n    return walk(known, start)\n"
            + T
            + "return walk(schedule.add_noise(known, noise, t), start)",
            "must not be called",
        ),
        (
            "if start == 0:\n    return known\n" + T + "return walk(schedule.add_noise(known, noise, t), start)",
            "known|range",
        ),
        (
            "if start == len(visited) - 1:\n    return known\n"
            + T
            + "return walk(schedule.add_noise(known, noise, t), start)",
            "known|range",
        ),
        (
            END
            + "x = known\nfor step in visited[start:]:\n    x = walk(schedule.add_noise(x, noise, torch.full((len(known),), step)), start)\nreturn x",
            "called once|times",
        ),
        (
            END + T + "return walk(schedule.add_noise(known, torch.randn_like(known), t), start)",
            "random numbers of its own",
        ),
        (
            "if start == 0:\n    return known\nt = torch.full((len(known),), visited[-start])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "`start` was taken for the number of steps to walk",
        ),
        (
            "i = min(start, len(visited) - 1)\nt = torch.full((len(known),), visited[i])\nreturn walk(schedule.add_noise(known, noise, t), start)",
            "With no step to walk, nothing is noised or walked: `known`",
        ),
        (
            "if start < len(visited):\n    t = torch.full((len(known),), visited[start])\n    x = schedule.add_noise(known, noise, t)\n    x = walk(x, start)\n    return x",
            "`noise_and_walk` returns nothing here, and something in",
        ),
        (
            "if start == len(visited):\n    return known\nt = torch.full((len(known),), visited[start])\nreturn walk(schedule.add_noise(known, noise, t), start).clamp(-1, 1)",
            "clamped by `clamp`",
        ),
        (
            "if start == len(visited):\n    return known\nt = torch.full((len(known),), visited[start])\nout = walk(schedule.add_noise(known, noise, t), start)\nreturn (known + out) / 2",
            "It is the mean of the right answer and `known`",
        ),
    ],
    "8.3": [
        (
            "def tell(x, t):\n    x = torch.where(mask > 0, x, known)\n    return torch.where(mask > 0, denoise(x, t), known)\nreturn tell",
            "replaced, too",
        ),
        ("return lambda x, t: torch.where(mask > 0, known, denoise(x, t))", "changed places"),
        ("return lambda x, t: denoise(x, t) * (1 - mask) + known * mask", "changed places"),
        ("return lambda x, t: mask * denoise(x, t)", "zeros come out; the known"),
        ("return lambda x, t: denoise(x, t)", "as it was"),
        ("return denoise", "as it was"),
        ("return known", "Return a function"),
        ("return torch.where(mask > 0, denoise, known)", "fails|where"),
        ("return torch.where(mask > 0, denoise(known, torch.tensor([1, 2])), known)", "Return a function"),
        ("def tell(x, t):\n    torch.where(mask > 0, denoise(x, t), known)\nreturn tell", "inside returns nothing"),
        ("def tell(x, t):\n    return torch.where(mask > 0, denoise(x, t), known)", "`knowing` returns nothing"),
        (
            "def tell(x, t):\n    return torch.where(mask > 0, denoise(x, t), known)\nreturn tell(known, mask)",
            "Return a function|denoise|fails",
        ),
        (
            "def tell(x):\n    return torch.where(mask > 0, denoise(x, 0), known)\nreturn tell",
            "must take two arguments",
        ),
        ("return lambda x, t: torch.where(mask > 0, denoise(t, x), known)", "`x` and `t` have changed places"),
        ("return lambda x, t: torch.where(mask > 0, denoise(x), known)", "takes \\(x, t\\); it was called with 1"),
        ("return lambda x, t: denoise(torch.where(mask > 0, x, known), t)", "RePaint"),
        ("return lambda x, t: torch.where(mask > 0, x, known)", "nobody asked the denoiser"),
        ("return lambda x, t: torch.where(mask > 0, denoise(x, t), x)", "the known one belongs there"),
        ("return lambda x, t: mask * denoise(x, t) + known", "added everywhere"),
        ("return lambda x, t: denoise(x, t) + (1 - mask) * known", "counts everywhere"),
        ("return lambda x, t: (1 - mask) * known", "the guess is missing"),
        ("return lambda x, t: known", "comes out everywhere"),
        ("return lambda x, t: (denoise(x, t) + known) / 2", "half and half"),
        (
            "def tell(x, t):\n    return torch.where(mask[0, 0] > 0, denoise(x, t), known)\nreturn tell",
            "first picture's mask",
        ),
        (
            "def tell(x, t):\n    if mask > 0:\n        return denoise(x, t)\n    return known\nreturn tell",
            "neither true nor false",
        ),
        ("return lambda x, t: torch.where(mask < 0, denoise(x, t), known)", "comes out everywhere"),
        ("return lambda x, t: torch.where(mask >= 0, denoise(x, t), known)", "as it was"),
        ("return lambda x, t: denoise(x, t)[mask > 0]", "`known` is never used"),
        ("return torch.where(mask == 1, denoise(known, 0), known)", "Return a function"),
        (
            "def inner(x, t):\n    return torch.where(mask == 1, denoise(x, t), known)\nreturn inner(known, 0)",
            "Return a function",
        ),
        (
            "def inner(x, t):\n    guess = denoise(x, t)\n    guess[mask == 0] == known[mask == 0]\n    return guess\nreturn inner",
            "The guess comes out as it was",
        ),
        (
            "def inner(x, t):\n    return torch.where(mask == 0, (denoise(x, t) + known) / 2, denoise(x, t))\nreturn inner",
            "Where the mask is 0, half of the guess is left",
        ),
        (
            "def inner(x, t):\n    guess = denoise(x, t).clone()\n    guess[:, :, :4] = known[:, :, :4]\n    return guess\nreturn inner",
            "The argument `mask` is never used",
        ),
        (
            "def inner(x, t):\n    g = denoise(x, t).clone()\n    g[:, :1] = torch.where(mask == 1, g[:, :1], known[:, :1])\n    return g\nreturn inner",
            "Here `g\\[:, :1\\]` is a tensor of shape \\(2, 1, 6, 5\\) and",
        ),
    ],
}

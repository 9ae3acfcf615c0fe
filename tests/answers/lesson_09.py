"""Answers to the exercises of lesson 09: right ones in unusual forms, and wrong ones with what must be said of them.

Only the lines behind ``def ...:`` are given. ``says`` is a regular expression.
"""

SPLIT = "_, level, kind, i = name.split('.')\nlevel, i = int(level), int(i)\n"
SETS = "w, g = set(wanted), set(given)\n"
CHANGED = SETS + "changed = sorted(n for n in w & g if wanted[n] != given[n])\n"
BLOCK = (
    "return 2 * inputs + convolution(inputs, outputs) + convolution(time, outputs, 1) + 2 * outputs"
    " + convolution(outputs, outputs)"
)
SHORTCUT = " + (convolution(inputs, outputs, 1) if inputs != outputs else 0)"

RIGHT = {
    "9.1": [
        "parts = [2 * inputs, convolution(inputs, outputs), convolution(time, outputs, 1), 2 * outputs]\nparts.append(convolution(outputs, outputs))\nreturn sum(parts) + (inputs != outputs) * convolution(inputs, outputs, 1)",
        "total = 9 * inputs * outputs + 9 * outputs**2 + time * outputs + 2 * inputs + 5 * outputs\nif inputs != outputs:\n    total += inputs * outputs + outputs\nreturn total",
        "from tinyldm.unet import ResidualBlock\nreturn sum(p.numel() for p in ResidualBlock(inputs, outputs, time, groups=1).parameters())",
        "shapes = [(inputs,), (inputs,), (outputs, inputs, 3, 3), (outputs,), (outputs, time), (outputs,), (outputs,), (outputs,), (outputs, outputs, 3, 3), (outputs,)]\nif inputs != outputs:\n    shapes += [(outputs, inputs, 1, 1), (outputs,)]\nreturn sum(math.prod(shape) for shape in shapes)",
        "layers = {'first': (inputs, outputs, 3), 'second': (outputs, outputs, 3), 'time': (time, outputs, 1)}\nif not inputs == outputs:\n    layers['shortcut'] = (inputs, outputs, 1)\nreturn sum(convolution(*sizes) for sizes in layers.values()) + 2 * (inputs + outputs)",
        "import numpy as np\nkernels = np.array([9, 9, 1, int(inputs != outputs)])\npairs = np.array([inputs * outputs, outputs * outputs, time * outputs, inputs * outputs])\nreturn int((kernels * pairs).sum() + 3 * outputs + outputs * (inputs != outputs) + 2 * inputs + 2 * outputs)",
        "block = [torch.nn.GroupNorm(1, inputs), torch.nn.Conv2d(inputs, outputs, 3), torch.nn.Linear(time, outputs), torch.nn.GroupNorm(1, outputs), torch.nn.Conv2d(outputs, outputs, 3)]\nif inputs - outputs:\n    block.append(torch.nn.Conv2d(inputs, outputs, 1))\nreturn sum(p.numel() for layer in block for p in layer.parameters())",
    ],
    "9.2": [
        "import re\nlevel, kind, i = re.fullmatch(r'down_blocks\\.(\\d+)\\.(\\w+)\\.(\\d+)', name).groups()\nreturn f'input_blocks.{int(level) * (layers + 1) + int(i) + 1}.{int(kind == \"attentions\")}'",
        "parts = name.split('.')\nreturn '.'.join(['input_blocks', str(1 + int(parts[1]) * (layers + 1) + int(parts[3])), '1' if 'attn' in parts[2] or 'att' in parts[2] else '0'])",
        SPLIT
        + "entry = 1\nfor below in range(level):\n    entry += layers + 1\nreturn 'input_blocks.%d.%d' % (entry + i, kind.startswith('a'))",
        "entries = ['conv_in']\nfor level in range(10):\n    entries += [f'{level}.{i}' for i in range(layers)] + ['half']\n_, level, kind, i = name.split('.')\nreturn f'input_blocks.{entries.index(level + \".\" + i)}.{0 if kind == \"resnets\" else 1}'",
        "kind = int('attentions' in name)\nlevel, i = (int(part) for part in name.split('.')[1::2])\nreturn 'input_blocks.{}.{}'.format(level + level * layers + i + 1, kind)",
        SPLIT
        + "return f'input_blocks.{i - ~(level * (layers + 1))}.{ {\"resnets\": 0, \"attentions\": 1}[kind] }'.replace(' ', '')",
        "name = name.removeprefix('down_blocks.')\nlevel, rest = name.split('.', 1)\nkind, i = rest.rsplit('.', 1)\nn = sum([1, int(i), *[layers + 1] * int(level)])\nreturn 'input_blocks.' + str(n) + ('.1' if kind == 'attentions' else '.0')",
    ],
    "9.3": [
        "missing = sorted(name for name in wanted if name not in given)\nleft = sorted(name for name in given if name not in wanted)\nreturn missing, left, sorted(n for n in wanted if n in given and tuple(wanted[n]) != tuple(given[n]))",
        CHANGED + "return [sorted(w - g), sorted(g - w), changed]",
        "return sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys()), sorted(n for n in wanted.keys() & given.keys() if list(wanted[n]) != list(given[n]))",
        "missing, left, changed = [], [], []\nfor name in sorted({**wanted, **given}):\n    if name not in given:\n        missing.append(name)\n    elif name not in wanted:\n        left.append(name)\n    elif wanted[name] != given[name]:\n        changed.append(name)\nreturn missing, left, changed",
        "differ = {name for name, _ in wanted.items() ^ given.items()}\nw, g = set(wanted), set(given)\nreturn sorted(differ - g), sorted(differ - w), sorted(differ & w & g)",
        "pick = lambda test: sorted(filter(test, {*wanted, *given}))\nreturn pick(lambda n: n not in given), pick(lambda n: n not in wanted), pick(lambda n: n in wanted and n in given and wanted[n] != given[n])",
        "out = ([], [], [])\nfor n in set(wanted) | set(given):\n    a, b = wanted.get(n), given.get(n)\n    if a != b:\n        out[0 if b is None else 1 if a is None else 2].append(n)\nfor names in out:\n    names.sort()\nreturn out",
    ],
}

WRONG = {
    "9.1": [
        (BLOCK, "shortcut is missing"),
        (BLOCK + " + convolution(inputs, outputs, 1)", "stay the same"),
        (BLOCK + " + (convolution(inputs, outputs, 1) if inputs == outputs else 0)", "needed where they change"),
        (BLOCK + " + (convolution(inputs, outputs) if inputs != outputs else 0)", "3 × 3; it is 1 × 1"),
        (BLOCK + " + (inputs * outputs if inputs != outputs else 0)", "shortcut has biases"),
        (BLOCK.replace("convolution(time, outputs, 1) + ", "") + SHORTCUT, "layer for the time is missing"),
        (BLOCK.replace("convolution(time, outputs, 1)", "time * outputs") + SHORTCUT, "layer for the time has biases"),
        (BLOCK.replace("convolution(time, outputs, 1)", "convolution(time, outputs)") + SHORTCUT, "one of 1 × 1"),
        (
            BLOCK.replace("convolution(time, outputs, 1)", "convolution(time, inputs, 1)") + SHORTCUT,
            "\\*new\\* channels",
        ),
        (
            BLOCK.replace("convolution(time, outputs, 1)", "time") + SHORTCUT,
            "differs|should be|was used|Instead|missing|changed",
        ),
        (BLOCK.replace("2 * inputs + ", "").replace("+ 2 * outputs ", "") + SHORTCUT, "norms are missing"),
        (BLOCK.replace("2 * inputs + ", "") + SHORTCUT, "first norm is missing"),
        (BLOCK.replace("2 * inputs", "inputs").replace("2 * outputs", "outputs") + SHORTCUT, "1 was counted"),
        (BLOCK.replace("2 * outputs", "2 * inputs") + SHORTCUT, "second norm is given the new"),
        (BLOCK.replace("2 * inputs", "2 * outputs") + SHORTCUT, "first norm is given the channels that come in"),
        (
            BLOCK.replace("convolution(outputs, outputs)", "convolution(inputs, outputs)") + SHORTCUT,
            "second convolution goes",
        ),
        (BLOCK.replace("convolution(outputs, outputs)", "convolution(outputs, inputs)") + SHORTCUT, "not back"),
        (BLOCK.replace(" + convolution(outputs, outputs)", "") + SHORTCUT, "second one is missing"),
        (
            "n = 9 * inputs * outputs + 9 * outputs**2 + time * outputs + 2 * inputs + 2 * outputs\nreturn n + (inputs * outputs if inputs != outputs else 0)",
            "Biases are missing",
        ),
        (
            BLOCK.replace("convolution(inputs, outputs)", "convolution(inputs, inputs)") + SHORTCUT,
            "same number on both sides",
        ),
        (
            "return 2 * inputs + convolution(inputs + time, outputs) + 2 * outputs + convolution(outputs, outputs)"
            + SHORTCUT,
            "linear layer of their own",
        ),
        ("return float(" + BLOCK.removeprefix("return ") + SHORTCUT + ")", "not a float"),
        ("return [2 * inputs, convolution(inputs, outputs), convolution(time, outputs, 1)]", "list of 3"),
        ("convolution(inputs, outputs)", "returns nothing"),
        ("return (" + BLOCK.removeprefix("return ") + SHORTCUT + ") * 2", "times as large|[Nn]umber|2"),
        (BLOCK + " + convolution(inputs, output, 1)", "'output' is not defined"),
        (
            "def convolution(inputs, outputs, kernel=3):\n    return inputs * outputs * kernel**2 + outputs\nn = 2 + convolution(inputs, outputs) + convolution(time, outputs, 1) + 2 + convolution(outputs, outputs)\nif inputs != outputs:\n    n += convolution(inputs, outputs, 1)\nreturn n",
            "A norm was counted with 2 numbers in all",
        ),
        (
            "def convolution(inputs, outputs, kernel=3):\n    return inputs * outputs * kernel**2 + outputs\nn = 2 * inputs + convolution(inputs, outputs) + convolution(time, 2 * outputs, 1) + 2 * outputs + convolution(outputs, outputs)\nif inputs != outputs:\n    n += convolution(inputs, outputs, 1)\nreturn n",
            "The layer for the time was counted with twice as many new",
        ),
        (
            "def convolution(inputs, outputs, kernel=3):\n    return inputs * outputs * kernel**2 + outputs\nn = 2 * inputs + convolution(inputs, inputs) + convolution(time, outputs, 1) + 2 * outputs + convolution(inputs, outputs)\nif inputs != outputs:\n    n += convolution(inputs, outputs, 1)\nreturn n",
            "The channels change in the first convolution, not in the",
        ),
    ],
    "9.2": [
        (SPLIT + "return f'output_blocks.{1 + level * (layers + 1) + i}.{int(kind == \"attentions\")}'", "way up"),
        (
            SPLIT + "return f'input_blocks.{level * (layers + 1) + i}.{int(kind == \"attentions\")}'",
            "Entry 0 is the first convolution",
        ),
        (SPLIT + "return f'input_blocks.{level * (layers + 1) + i}.0'", "should be 'input_blocks.2.0'|Entry 0"),
        (
            SPLIT + "return f'input_blocks.{1 + level * layers + i}.{int(kind == \"attentions\")}'",
            "entry of its own: a level",
        ),
        (SPLIT + "return f'input_blocks.{1 + level * layers + i}.0'", "entry of its own|should be"),
        (SPLIT + "return f'input_blocks.{level * layers + i}.{int(kind == \"attentions\")}'", "Entry 0 was forgotten"),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.0'", "always 0"),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.1'", "always 1"),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.{int(kind == \"resnets\")}'", "changed places"),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.{i}'", "`i` stands there"),
        (
            SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.{i if kind == \"attentions\" else 0}'",
            "whichever it is",
        ),
        (SPLIT + "return f'input_blocks.{1 + level * 3 + i}.{int(kind == \"attentions\")}'", "`layers` is not used"),
        (
            SPLIT + "return f'input_blocks.{1 + level * (layers + 2) + i}.{int(kind == \"attentions\")}'",
            "one entry too many",
        ),
        (
            SPLIT + "a = int(kind == 'attentions')\nreturn f'input_blocks.{1 + level * (layers + 1) + i + a}.{a}'",
            "not in the one after",
        ),
        (
            SPLIT
            + "a = int(kind == 'attentions')\nreturn f'input_blocks.{1 + level * (2 * layers + 1) + 2 * i + a}.{a}'",
            "share an entry",
        ),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1)}.{int(kind == \"attentions\")}'", "`i` is left out"),
        (SPLIT + "return f'input_blocks.{1 + i}.{int(kind == \"attentions\")}'", "level is left out"),
        (SPLIT + "return f'input_blocks.{1 + level * layers + 1 + i}.{int(kind == \"attentions\")}'", "brackets"),
        (
            SPLIT + "return f'input_blocks.{1 + i * (layers + 1) + level}.{int(kind == \"attentions\")}'",
            "changed places",
        ),
        (
            SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.{int(kind == \"attentions\")}.weight'",
            "`.weight`",
        ),
        (SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}'", "ends with the entry"),
        (
            SPLIT + "return f'down_blocks.{1 + level * (layers + 1) + i}.{int(kind == \"attentions\")}'",
            "`down_blocks` still",
        ),
        (
            SPLIT + "return f'input_blocks.{1 + level * (layers + 1) + i}.{kind == \"attentions\"}'",
            "should be|'input_blocks",
        ),
        (
            "_, level, kind, i = name.split('.')\nreturn f'input_blocks.{1 + level * (layers + 1) + i}.0'",
            "fails: TypeError",
        ),
        (
            "_, level, kind, i = name.split('.')\nreturn f'input_blocks.{level + i}.{int(kind == \"attentions\")}'",
            "one after another",
        ),
        ("_, level, kind, i = name\nreturn 'input_blocks.1.0'", "too many values|fails"),
        (SPLIT + "return 1 + level * (layers + 1) + i, int(kind == 'attentions')", "[Ss]tr was asked for|A str"),
        ("return name.replace('down_blocks', 'input_blocks')", "Only the first part"),
        (
            "_, level, kind, i = name.split('.')\nlevel, i = int(level), int(i)\nn = 1 + level * (2 * layers + 1) + 2 * i + (kind == 'attentions')\nreturn f'input_blocks.{n}.0'",
            "Residual block and attention share an entry, and only the",
        ),
        (
            "level = int(name[12])\ni = int(name[-1])\nn = 1 + level * (layers + 1) + i\nreturn f'input_blocks.{n}.{int(\"attentions\" in name)}'",
            "Only one digit of a number was read",
        ),
        (
            "_, level, kind, i = name.split('.')\nn = 1 + level * (layers + 1) + i\nreturn f'input_blocks.{n}.{int(kind == \"attentions\")}'",
            "Here `level \\* \\(layers \\+ 1\\)` is '000'",
        ),
        (
            "_, level, kind, i = name.split('.')\nlevel, i = int(level), int(i)\nn = 1 + level * (layers + 1) + i\nif level == 3:\n    n -= 1\nreturn f'input_blocks.{n}.{int(kind == \"attentions\")}'",
            "On the last level one was subtracted",
        ),
        (
            "_, level, kind, i = name.split('.')\nlevel, i = int(level), int(i)\nn = 1 + level * (layers + 1) + i + 1\nreturn f'input_blocks.{n}.{int(kind == \"attentions\")}'",
            "It is one entry too far",
        ),
    ],
    "9.3": [
        (CHANGED + "return sorted(g - w), sorted(w - g), changed", "changed places"),
        (SETS + "return sorted(w - g), sorted(g - w)", "third list is missing"),
        (SETS + "return sorted(w - g), sorted(g - w), []", "Shapes are not compared"),
        (CHANGED + "return w - g, g - w, set(changed)", "a set"),
        (
            "missing = [n for n in wanted if n not in given]\nleft = [n for n in given if n not in wanted]\nreturn missing, left, [n for n in wanted if n in given and wanted[n] != given[n]]",
            "they were to be sorted",
        ),
        (
            CHANGED + "return [n for n in wanted if n not in given], sorted(g - w), changed",
            "first list is in the order",
        ),
        (CHANGED + "return sorted(w - g), sorted(g - w, reverse=True), changed", "should be"),
        (CHANGED + "return sorted(w - g, reverse=True), sorted(g - w, reverse=True), changed[::-1]", "backwards"),
        (
            SETS
            + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if math.prod(wanted[n]) != math.prod(given[n]))",
            "numbers of entries",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if set(wanted[n]) != set(given[n]))",
            "as sets",
        ),
        (
            SETS
            + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if sorted(wanted[n]) != sorted(given[n]))",
            "order of a shape's",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if wanted[n][0] != given[n][0])",
            "Only the first numbers",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if len(wanted[n]) != len(given[n]))",
            "Only the lengths",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w & g if wanted[n] == given[n])",
            "whose shapes agree",
        ),
        (SETS + "return sorted(w - g), sorted(g - w), sorted(w & g)", "all names that are in both"),
        (SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w if wanted[n] != given[n])", "no entry"),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w if wanted[n] != given.get(n))",
            "missing has no shape",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in g if wanted.get(n) != given[n])",
            "left over has no shape",
        ),
        (
            SETS + "return sorted(w - g), sorted(g - w), sorted(n for n in w | g if wanted.get(n) != given.get(n))",
            "one of the two only",
        ),
        (CHANGED + "return changed, sorted(w - g), sorted(g - w)", "misshapen comes first"),
        (CHANGED + "return len(w - g), len(g - w), len(changed)", "Numbers of names"),
        (CHANGED + "return sorted(w - g) + sorted(g - w) + changed", "one list"),
        (CHANGED + "return sorted(w ^ g), changed", "keep them apart"),
        (CHANGED + "return {'missing': sorted(w - g), 'left': sorted(g - w), 'changed': changed}", "a dict"),
        ("return sorted(wanted - given), sorted(given - wanted), []", "fails: TypeError"),
        (
            CHANGED
            + "for n in list(wanted):\n    if n in given:\n        del wanted[n]\nreturn sorted(wanted), sorted(g - w), changed",
            "changed in place",
        ),
        (CHANGED + "print(sorted(w - g), sorted(g - w), changed)", "use `return` in place of"),
        (
            "a, b = set(wanted.items()), set(given.items())\nmissing = sorted(n for n, _ in a - b)\nleft = sorted(n for n, _ in b - a)\nreturn missing, left, sorted(set(missing) & set(left))",
            "Entry 0 of the result: 'conv\\.weight' does not belong in it",
        ),
        (
            "a, b = set(wanted), set(given)\nd = sorted(a ^ b)\nreturn d, d, sorted(n for n in a & b if wanted[n] != given[n])",
            "Entry 0 of the result: 'alphas' does not belong in it",
        ),
        (
            "missing = sorted(set(wanted) - set(given))\nleft = sorted(set(given) - set(wanted))\nbad = sorted(a for (a, s), (b, r) in zip(wanted.items(), given.items()) if s != r)\nreturn missing, left, bad",
            "Entry 2 of the result: 'conv\\.bias' does not belong in it",
        ),
        (
            "a, b = set(wanted), set(given)\nreturn list(a - b).sort(), list(b - a).sort(), [n for n in a & b if wanted[n] != given[n]].sort()",
            "`\\.sort",
        ),
        (
            "a, b = set(wanted), set(given)\nreturn sorted(a - b), sorted(b - a), sorted((n, wanted[n], given[n]) for n in a & b if wanted[n] != given[n])",
            "Entry 2 of the result: in its entry 0, a str was asked for,",
        ),
        (
            "missing = sorted(n for n, s in wanted.items() if s not in given.values())\nleft = sorted(n for n, s in given.items() if s not in wanted.values())\nbad = sorted(n for n in wanted if n in given and wanted[n] != given[n])\nreturn missing, left, bad",
            "Entry 0 of the result: 'conv\\.weight' does not belong in it",
        ),
        (
            "a, b = set(wanted), set(given)\nbad = sorted(n for n in a & b if wanted[n] != given[n])\nreturn sorted(a - b), sorted((b - a) | set(bad)), bad",
            "Entry 1 of the result: 'conv\\.weight' does not belong in it",
        ),
        (
            "a, b = set(wanted), set(given)\nbad = sorted(n for n in a & b if wanted[n] is not given[n])\nreturn sorted(a - b), sorted(b - a), bad",
            "The third list has all names that are in both",
        ),
    ],
}

"""Private variants: every graded exercise with different numbers, drawn from a seed: ``make release VARIANT=seed``.

A variant changes what a function is given or must return: noise with a different standard deviation, a logarithm to a
different base, a threshold, a layout that counts from a different number. The question says so in one extra sentence.
The answer that anyone can read in the public lesson then fails the check; those who understand it need one more line.

Each exercise has one `Twist`. The locked check cell of a variant begins with ``usual_NAME``, the student's function
converted to the usual units, and checks that. So its messages stay true, and later cells of the lesson that use the
function still work.
"""

from __future__ import annotations

import ast
import io
import random
import re
import textwrap
import tokenize
from dataclasses import dataclass, replace

import nbformat
from repair import plain

SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"^### Exercise (\d+)\.(\d+): (.*)$", re.MULTILINE)
MARK = "**In your version:**"
REMINDER = "# Note what is different in your version: see above. (The docstring describes the usual one.)"
NOTE = """# The messages below are about the usual version. This converts yours to it.
print("If a message puzzles you: it is about the usual version. Did you allow for what is different in yours?")"""
DOUBLINGS = (2, 4, 8, 16)  # multiplying by them and dividing again is exact
FEW = (3, 4, 5, 6, 7)
MANY = (10, 20, 50, 200, 500, 1000)


@dataclass(frozen=True)
class Twist:
    """What a variant changes in one exercise. In all texts, N stands for the number that is drawn.

    Args:
        says: the sentence that is added to the question.
        numbers: N is one of these.
        ask: Python lines that turn the usual arguments into the variant's; the check runs them.
        take: the reverse; the answer runs them.
        read: an expression that turns ``answer``, the variant's result, into the usual one; in the check.
        give: the reverse; in the answer.
    """

    says: str
    numbers: tuple
    ask: str = ""
    take: str = ""
    read: str = "answer"
    give: str = "answer"


def larger(argument: str, says: str, numbers: tuple = DOUBLINGS) -> Twist:
    """An argument is N times as large."""
    return Twist(says, numbers, ask=f"{argument} = {argument} * N", take=f"{argument} = {argument} / N")


def result(says: str, times: str, numbers: tuple = FEW) -> Twist:
    """The result must be ``times`` as large."""
    return Twist(says, numbers, read=f"answer / {times}", give=f"answer * {times}")


def counted(says: str, numbers: tuple = MANY) -> Twist:
    """The result, a number of something, counts from N."""
    return Twist(says, numbers, read="answer - N", give="answer + N")


TWISTS = {
    "ex-0-1": Twist(
        "this tokenizer's ids are N higher than CLIP's: the start token is 49406 + N, the end token 49407 + N, and N "
        "has already been added to those in `words`.",
        MANY,
        ask="words = [number + N for number in words]",
        take="words = [number - N for number in words]",
        read="[number - N for number in answer]",
        give="[number + N for number in answer]",
    ),
    "ex-0-2": result(
        "count bytes: how many bytes of the picture are there for each byte of the latents? A number in the picture "
        "takes 1 byte, one in the latents N.",
        "(1 / N)",
        DOUBLINGS,
    ),
    "ex-0-3": larger("image", "pixels are between -N and N instead of -1 and 1, and some values lie outside."),
    "ex-1-1": Twist(
        "use logarithms to base N instead of natural logarithms.",
        (2, 3, 5, 10),
        read="answer * torch.tensor(N).log().item()",
        give="answer / torch.tensor(N).log().item()",
    ),
    "ex-1-2": larger("fake_scores", "this discriminator's scores are N times too large: p is sigmoid(score / N)."),
    "ex-1-3": result("this generator expects z N times as large: multiply the whole walk by N.", "N", DOUBLINGS),
    "ex-1-4": larger("shares", "you are given counts, not shares: how many of N pictures show each digit.", MANY),
    "ex-2-1": larger("noise", "`noise` has a standard deviation of N. The step needs one of 1: divide first."),
    "ex-2-2": larger("x0", "`x0` is N times too large. Divide it, not the noise, by N first."),
    "ex-2-3": result("return the clean picture multiplied by N.", "N"),
    "ex-2-4": Twist(
        "find the first t at which the SNR is below N.",
        (0.25, 0.5, 2, 3, 4),
        ask="snr = N * alphas_cumprod / (1 - alphas_cumprod)\nalphas_cumprod = snr / (1 + snr)",
        take="snr = alphas_cumprod / (1 - alphas_cumprod) / N\nalphas_cumprod = snr / (1 + snr)",
    ),
    "ex-3-1": counted("the rows are the steps N, N + 1, N + 2 and so on. Return the step, not the row number."),
    "ex-3-2": larger("skip", "divide the skip by N before you concatenate (some networks scale their skips)."),
    "ex-3-3": Twist(
        "this model counts steps from N: pass it t + N. The schedule still counts from 0.",
        MANY,
        ask="usual_model = model\nmodel = lambda x, t: usual_model(x, t - N)",
        take="told = model\nmodel = lambda x, t: told(x, t + N)",
    ),
    "ex-4-1": larger("eps", "the network's output `eps` is N times too large: divide it by N first."),
    "ex-4-2": larger("z", "`z` has a standard deviation of N. The one in the formula has 1.", FEW),
    "ex-4-3": Twist(
        "`visited` counts steps from N, but `take_apart` counts from 0, so pass it t - N.",
        MANY,
        ask="visited = [t + N for t in visited]",
        take="visited = [t - N for t in visited]",
    ),
    "ex-5-1": Twist(
        "the encoder's `logvar` is the logarithm of σ² to base N.",
        (2, 3, 5, 10),
        ask="logvar = logvar / torch.tensor(N).log()",
        take="logvar = logvar * torch.tensor(N).log()",
    ),
    "ex-5-2": Twist(
        "measure how far the Gaussians are from one with mean 0 and σ = N, not σ = 1. (In units of N, that one has "
        "σ = 1 again. What do μ and σ become?)",
        DOUBLINGS,
        ask="mean, logvar = mean * N, logvar + 2 * torch.tensor(N).log()",
        take="mean, logvar = mean / N, logvar - 2 * torch.tensor(N).log()",
    ),
    "ex-5-3": larger("z", "this encoder's `z` is N times too large: divide it by N before you compare.", (4, 8, 16)),
    "ex-5-4": Twist(
        "return the third term multiplied by its weight, β = N.",
        (0.125, 0.25, 0.5, 2, 4),
        read="(*answer[:2], answer[2] / N)",
        give="(*answer[:2], answer[2] * N)",
    ),
    "ex-6-1": result("the latents should have a standard deviation of N.", "N"),
    "ex-6-2": Twist(
        "this autoencoder has a *shift*, as in Stable Diffusion 3: subtract N from what `encode` returns; then scale.",
        DOUBLINGS,
        ask="usual_encode = encode\nencode = lambda images: usual_encode(images) + N",
        take="shifted = encode\nencode = lambda images: shifted(images) - N",
    ),
    "ex-6-3": result("count for a batch of N pictures.", "N", MANY),
    "ex-7-1": Twist(
        "positions count N times: add N times the row of the position.",
        DOUBLINGS,
        ask="places = places / N",
        take="places = places * N",
    ),
    "ex-7-2": Twist(
        "`scores` are cosines, too small to say much: multiply them by N first (CLIP learns this number).",
        DOUBLINGS,
        ask="scores = scores / N",
        take="scores = scores * N",
    ),
    "ex-7-3": larger("q", "divide the scores by N · √d instead of √d, which makes attention less sharp.", FEW),
    "ex-7-4": larger("k", "divide the scores by N · √d instead of √d: these keys are N times as large.", FEW),
    "ex-7-5": larger("s", "`s` is N times as large: N does what 1 did above, 2 · N what 2 did.", MANY),
    "ex-8-1": larger("strength", "`strength` goes from 0 to N, not from 0 to 1; anything outside is an error.", MANY),
    "ex-8-2": larger("noise", "`noise` has a standard deviation of N, but `add_noise` expects one of 1."),
    "ex-8-3": Twist(
        "the mask is 0 where something new is wanted, and N where the known picture must stay.",
        (2, 15, 31, 127, 255),
        ask="mask = N * (1 - mask)",
        take="mask = 1 - mask / N",
    ),
    "ex-9-1": result("return bytes, N for each weight.", "N", DOUBLINGS),
    "ex-9-2": Twist(
        "this layout counts its entries from N: what is `input_blocks.0.0` above is `input_blocks.N.0`.",
        FEW,
        ask="import re",
        take="import re",
        read="re.sub(r'\\.\\d+\\.', lambda found: f'.{int(found[0][1:-1]) - N}.', answer)",
        give="re.sub(r'\\.\\d+\\.', lambda found: f'.{int(found[0][1:-1]) + N}.', answer)",
    ),
    "ex-9-3": Twist(
        "each name in `given` begins with `N.`, which must be removed before you compare; return names without it.",
        ("model", "network", "unet", "module", "diffusion"),
        ask="given = {'N.' + name: shape for name, shape in given.items()}",
        take="given = {name.removeprefix('N.'): shape for name, shape in given.items()}",
    ),
}


def vary(lesson, seed: str):
    """A complete lesson as a variant, answers included; the notebook passed in is not changed.

    The same seed gives the same variant; each exercise draws its own number.
    """
    notebook = nbformat.from_dict(lesson)
    for position, cell in enumerate(notebook.cells):
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name in TWISTS:
            twist = drawn(name, seed)
            _ask(notebook.cells[:position], name, twist)
            function = next(node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef))
            changed = SOLUTION.sub(lambda found, t=twist, f=function: _answer(found, t, f), cell.source)
            cell.source = f"{REMINDER}\n{changed}"
            _rename(notebook.cells[position + 1 :], function.name)
            check = notebook.cells[position + 1]
            check.source = check.source.replace("\n", f"\n{_usual(twist, function)}", 1)
    return notebook


def drawn(name: str, seed: str) -> Twist:
    """The twist of an exercise, with N replaced by the number that this seed draws."""
    twist = TWISTS[name]
    number = str(random.Random(f"{seed} {name}").choice(twist.numbers))
    texts = {key: re.sub(r"\bN\b", number, getattr(twist, key)) for key in ("says", "ask", "take", "read", "give")}
    return replace(twist, **texts)


def answer(body: str, twist: Twist, function: ast.FunctionDef) -> str:
    """Turn the body of an answer to the usual exercise into one to the variant."""
    names = ", ".join(argument.arg for argument in function.args.args)
    lines = [f"def usual({names}):", textwrap.indent(body, "    ") + "\n", twist.take, f"answer = usual({names})"]
    return "\n".join([*filter(None, lines), f"return {twist.give}"])


def _answer(found: re.Match, twist: Twist, function: ast.FunctionDef) -> str:
    begin, *body, end = found[0].splitlines()
    changed = answer(textwrap.dedent("\n".join(body)), twist, function)
    return "\n".join([begin, textwrap.indent(changed, found[1]), end])


def _usual(twist: Twist, function: ast.FunctionDef) -> str:
    names = ", ".join(argument.arg for argument in function.args.args)
    lines = [twist.ask, f"answer = {function.name}({names})", f"return answer if answer is None else {twist.read}"]
    body = textwrap.indent("\n".join(filter(None, lines)), "    ")
    return f"{NOTE}\ndef usual_{function.name}({ast.unparse(function.args)}):\n{body}\n\n\n"


def _ask(cells: list, name: str, twist: Twist) -> None:
    """Put the new sentence after the exercise's question."""
    for cell in cells:
        for title in TITLE.finditer(cell.source if cell.cell_type == "markdown" else ""):
            if f"ex-{int(title[1])}-{title[2]}" == name:
                hint = cell.source.index("\n\n<details>", title.end())
                cell.source = f"{cell.source[:hint]}\n\n{MARK} {twist.says}{cell.source[hint:]}"
                return
    raise ValueError(f"{name} has no heading and hint of its own")


def _rename(cells: list, function: str) -> None:
    """Make the checks, and the cells after them, call ``usual_function``."""
    for cell in cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = _renamed(cell.source, function)


def _renamed(source: str, function: str) -> str:
    lines, before = source.splitlines(keepends=True), None
    positions = []
    for token in tokenize.generate_tokens(io.StringIO(plain(source)).readline):
        if token.type == tokenize.NAME and token.string == function and before != ".":
            positions.append(token.start)
        before = token.string
    for row, column in reversed(positions):
        lines[row - 1] = f"{lines[row - 1][:column]}usual_{lines[row - 1][column:]}"
    return "".join(lines)

"""The exercises of lesson 07, text conditioning."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..checks import Call, Case, Exercise
from ..guidance import guide
from ..text import CLIP
from ..unet import dot_product_attention
from . import twists

# ---------------------------------------------------------------- 7.1


def first_layer(tokens: Tensor, table: Tensor, places: Tensor) -> Tensor:
    return table[tokens] + places


def _prompts(random: Generator) -> list[Case]:
    """Tokens out of order, each a possible position too, so that a wrong index is a wrong value and no exception."""
    return [
        {
            "tokens": torch.tensor(tokens),
            "table": torch.randn(words, dim, generator=random),
            "places": torch.randn(len(tokens[0]), dim, generator=random),
        }
        for tokens, words, dim in (
            ([[3, 0, 4, 3, 2], [1, 4, 0, 2, 2]], 7, 3),
            ([[2, 0, 3, 1], [0, 3, 3, 2], [1, 1, 0, 3]], 9, 6),
        )
    ]


FIRST_LAYER = Exercise(
    "7.1",
    first_layer,
    _prompts,
    twists.scaled_down("places", "positions count {N} times: add {N} times the row of the position."),
    mistakes=(
        (
            "The rows of positions are missing: a word must look different at another position.",
            lambda tokens, table, places: table[tokens],
        ),
        (
            "The rows of tokens are missing: here the same comes out whatever the words are.",
            lambda tokens, table, places: places.expand(len(tokens), -1, -1),
        ),
        (
            "Both tables go by the token. The second one goes by position: 0, 1, 2, ..., the same for every prompt.",
            lambda tokens, table, places: table[tokens] + places[tokens],
        ),
        (
            "The rows of `table` go by position here; they go by token: which row does `tokens` ask for?",
            lambda tokens, table, places: (table[: len(places)] + places).expand(len(tokens), -1, -1),
        ),
        (
            "The second row comes from `table` too; rows of positions stand in `places`.",
            lambda tokens, table, places: table[tokens] + table[: len(places)],
        ),
        (
            "Positions are counted from 0: the first token of a prompt gets row 0 of `places`.",
            lambda tokens, table, places: table[tokens] + places.roll(-1, 0),
        ),
        (
            "Every position is one too late: the first token gets row 0 of `places`, not the last row.",
            lambda tokens, table, places: table[tokens] + places.roll(1, 0),
        ),
        (
            "Positions run along a prompt, over axis 1; here each prompt has one position for all its tokens.",
            lambda tokens, table, places: table[tokens] + places[: len(tokens), None],
        ),
        (
            "Both rows were put side by side; they are to be added, so that 128 numbers stay 128.",
            lambda tokens, table, places: torch.cat([table[tokens], places.expand(len(tokens), -1, -1)], -1),
        ),
        (
            "The number of the position was added; its row of `places` is needed.",
            lambda tokens, table, places: table[tokens] + torch.arange(len(places))[:, None],
        ),
        (
            "Only the first prompt was looked up, for all of them.",
            lambda tokens, table, places: (table[tokens[0]] + places).expand(len(tokens), -1, -1),
        ),
        (
            "All tokens got row 0 of `places`; each position has a row of its own.",
            lambda tokens, table, places: table[tokens] + places[0],
        ),
        (
            "Only the first token got its position; each has one.",
            lambda tokens, table, places: table[tokens] + places * (torch.arange(len(places)) == 0)[:, None],
        ),
        (
            "The rows of the table were multiplied by √d, as in some transformers; here they are added as they are.",
            lambda tokens, table, places: table[tokens] * table.shape[1] ** 0.5 + places,
        ),
    ),
    right="Right. So 'end' at position 5 differs from 'end' at position 6.",
)


# ---------------------------------------------------------------- 7.2


def contrastive_loss(scores: Tensor) -> Tensor:
    right = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


class _Scores:
    """A CLIP whose scores are given."""

    @staticmethod
    def similarity(images: Tensor, tokens: Tensor) -> Tensor:
        return images


def _diagonal(scores: Tensor) -> Tensor:
    return torch.arange(len(scores))


def _tables(random: Generator) -> list[Case]:
    """Tables of which some have a larger loss in their rows, others in their columns."""
    tables = [2 * torch.randn(n, n, generator=random) for n in (4, 3, 6, 5)]
    return [{"scores": table.T.contiguous() if len(table) % 2 else table} for table in tables]


CONTRASTIVE = Exercise(
    "7.2",
    contrastive_loss,
    _tables,
    twists.scaled_down(
        "scores", "`scores` are cosines, too small to say much: multiply them by {N} first (CLIP learns this number)."
    ),
    reference=lambda scores: CLIP.forward(cast(CLIP, _Scores()), scores, scores),
    gradients=("scores",),
    mistakes=(
        (
            "These are the rows only, pictures looking for their captions; captions must find their pictures, too.",
            lambda scores: F.cross_entropy(scores, _diagonal(scores)),
        ),
        (
            "These are the columns only, captions looking for their pictures; pictures must find their captions, too.",
            lambda scores: F.cross_entropy(scores.T, _diagonal(scores)),
        ),
        ("This is the sum of both directions; the mean is half of it.", lambda scores: 2 * contrastive_loss(scores)),
        (
            "This is the sum over the pictures; their mean was asked for.",
            lambda scores: len(scores) * contrastive_loss(scores),
        ),
        (
            "It is divided by the number of pictures twice: `F.cross_entropy` takes the mean already.",
            lambda scores: contrastive_loss(scores) / len(scores),
        ),
        (
            "Both losses together were divided by the number of pictures; there are two of them, so it is 2.",
            lambda scores: 2 * contrastive_loss(scores) / len(scores),
        ),
        (
            "There is one softmax too many: `F.cross_entropy` takes scores, and makes the softmax itself.",
            lambda scores: _loss_of(scores.softmax(1), scores.T.softmax(1)),
        ),
        (
            "The softmax of the rows was handed to `F.cross_entropy`: it takes scores, and makes the softmax itself.",
            lambda scores: contrastive_loss(scores.softmax(1)),
        ),
        (
            "The softmax goes over the whole table; each row, and each column, has a softmax of its own.",
            lambda scores: -(scores.flatten().log_softmax(0).view_as(scores)).diagonal().mean(),
        ),
        (
            "The softmax is missing: a score is no logarithm of a probability yet.",
            lambda scores: -scores.diagonal().mean(),
        ),
        (
            "Probabilities, not their logarithms, were averaged: cross-entropy is minus the logarithm of the "
            "right answer's probability.",
            lambda scores: -(scores.softmax(1).diagonal().mean() + scores.softmax(0).diagonal().mean()) / 2,
        ),
        (
            "The mean probability of the right answers came out; cross-entropy is minus the mean of its logarithm.",
            lambda scores: (scores.softmax(1).diagonal().mean() + scores.softmax(0).diagonal().mean()) / 2,
        ),
        (
            "The logarithm was taken of the mean probability; take the mean of the logarithms.",
            lambda scores: -(scores.softmax(1).diagonal().mean().log() + scores.softmax(0).diagonal().mean().log()) / 2,
        ),
        (
            "For each row, column 0 was taken to be right; the right answer of row i is column i.",
            lambda scores: (
                (F.cross_entropy(scores, 0 * _diagonal(scores)) + F.cross_entropy(scores.T, 0 * _diagonal(scores))) / 2
            ),
        ),
        (
            "The right answers run from the last column to the first; the right answer of row i is column i.",
            lambda scores: (
                (
                    F.cross_entropy(scores, _diagonal(scores).flip(0))
                    + F.cross_entropy(scores.T, _diagonal(scores).flip(0))
                )
                / 2
            ),
        ),
        (
            "This is a yes or no for each pair on its own; the captions compete, with one softmax for a row.",
            lambda scores: F.binary_cross_entropy_with_logits(scores, torch.eye(len(scores))),
        ),
        (
            "The scores were compared with 0 and 1 by their squares; cross-entropy was asked for.",
            lambda scores: F.mse_loss(scores, torch.eye(len(scores))),
        ),
        (
            "Probabilities were compared with 0 and 1 by their squares; cross-entropy was asked for.",
            lambda scores: F.mse_loss(scores.softmax(1), torch.eye(len(scores))),
        ),
        (
            "1 minus the mean probability came out; cross-entropy is minus the mean of its logarithm.",
            lambda scores: 1 - (scores.softmax(1).diagonal().mean() + scores.softmax(0).diagonal().mean()) / 2,
        ),
        (
            "All pairs were counted; only the right answers are, those on the diagonal.",
            lambda scores: -(scores.log_softmax(1).mean() + scores.log_softmax(0).mean()) / 2,
        ),
        (
            "What has the largest score was taken to be right; the right answer of row i is column i.",
            lambda scores: (
                (F.cross_entropy(scores, scores.argmax(1)) + F.cross_entropy(scores.T, scores.argmax(0))) / 2
            ),
        ),
        (
            "The rows were turned upside down; the columns of a table are the rows of its *transpose*.",
            lambda scores: _loss_of(scores, scores.flip(0)),
        ),
        (
            "The scores were divided by CLIP's temperature, 0.07; they have been multiplied already.",
            lambda scores: contrastive_loss(scores / 0.07),
        ),
        (
            "Rows of scores were given the length 1; the vectors have been, and scores are taken as they are.",
            lambda scores: contrastive_loss(F.normalize(scores, dim=1)),
        ),
        (
            "The table and its transpose were averaged before the softmax; average the two losses.",
            lambda scores: contrastive_loss((scores + scores.T) / 2),
        ),
        (
            "This is the logarithm to base 2; cross-entropy takes the natural one.",
            lambda scores: contrastive_loss(scores) / torch.tensor(2.0).log(),
        ),
    ),
    right="Right: what the package's CLIP returns.",
)


def _loss_of(rows: Tensor, columns: Tensor) -> Tensor:
    """The loss of tables that were not made of the same scores."""
    return (F.cross_entropy(rows, _diagonal(rows)) + F.cross_entropy(columns, _diagonal(rows))) / 2


# ---------------------------------------------------------------- 7.3


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, N, M)
    return scores.softmax(-1) @ v


def _questions(random: Generator) -> list[Case]:
    return [
        {
            "q": torch.randn(b, n, d, generator=random),
            "k": torch.randn(b, m, d, generator=random),
            "v": torch.randn(b, m, d, generator=random),
        }
        for b, n, m, d in ((2, 3, 4, 5), (3, 5, 2, 7))
    ]


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def _rooted(size: Callable[[Tensor, Tensor], float]) -> Callable:
    """Attention whose scores are divided by the root of something else."""
    return lambda q, k, v: (q @ k.mT / size(q, k) ** 0.5).softmax(-1) @ v


ATTENTION = Exercise(
    "7.3",
    attend,
    _questions,
    twists.larger("q", "divide the scores by {N} · √d instead of √d, which makes attention less sharp.", twists.FEW),
    reference=lambda q, k, v: dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0],
    mistakes=(
        ("These are the weights: mix the values with them.", lambda q, k, v: _weights(q, k)),
        (
            "These are the scores: they still need a softmax, and the values.",
            lambda q, k, v: q @ k.mT / q.shape[-1] ** 0.5,
        ),
        (
            "The scores are not divided by √d: products of long lists are large.",
            lambda q, k, v: (q @ k.mT).softmax(-1) @ v,
        ),
        (
            "The softmax is missing: scores are no weights yet, they may be negative and don't sum to 1.",
            lambda q, k, v: q @ k.mT / q.shape[-1] ** 0.5 @ v,
        ),
        ("The keys were mixed in place of the values.", lambda q, k, v: _weights(q, k) @ k),
        (
            "The softmax goes over the queries: the weights that *one* query gives to all tokens must sum to 1.",
            lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(1) @ v,
        ),
        (
            "The softmax goes over the batch: each picture's weights are its own, and sum to 1 over the tokens.",
            lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(0) @ v,
        ),
        (
            "The scores are divided by √M, the number of tokens; d is how many numbers a key has.",
            _rooted(lambda q, k: k.shape[1]),
        ),
        (
            "The scores are divided by √N, the number of queries; d is how many numbers a key has.",
            _rooted(lambda q, k: q.shape[1]),
        ),
        (
            "The scores are divided by the root of the number of pictures; d is how many numbers a key has.",
            _rooted(lambda q, k: len(q)),
        ),
        (
            "√2 is written down, as in the small example, whose keys have 2 numbers; here d is another one.",
            _rooted(lambda q, k: 2),
        ),
        ("√3 is written down; d is to be read off the queries, as it may be any number.", _rooted(lambda q, k: 3)),
        ("The scores are divided by d; its root was asked for.", _rooted(lambda q, k: q.shape[-1] ** 2)),
        (
            "The weights are divided by √d, after the softmax; the scores are, before it.",
            lambda q, k, v: (q @ k.mT).softmax(-1) / q.shape[-1] ** 0.5 @ v,
        ),
        (
            "A sigmoid weighs each token on its own; a softmax shares 1 among all of them.",
            lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).sigmoid() @ v,
        ),
        (
            "The weights of a query don't sum to 1: eˢ is to be divided by the sum of all eˢ, which softmax does.",
            lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).exp() @ v,
        ),
        (
            "Cosines were taken as scores; the products of queries and keys are, divided by √d.",
            lambda q, k, v: (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1) @ v,
        ),
        (
            "Only the token with the largest score is taken; all are mixed, by softmax.",
            lambda q, k, v: v.gather(1, (q @ k.mT).argmax(-1)[..., None].expand(q.shape)),
        ),
        (
            "All tokens get the same weight: compare queries with keys.",
            lambda q, k, v: v.mean(1, keepdim=True).expand(q.shape),
        ),
        (
            "The softmax came last, over the answer; it makes weights of the scores, before they meet the values.",
            lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5 @ v).softmax(-1),
        ),
        (
            "Later tokens are masked; here every query may look at all of them.",
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        ),
        (
            "The scores were divided by their sum; softmax divides eˢ by the sum of all eˢ.",
            lambda q, k, v: (q @ k.mT) / (q @ k.mT).sum(-1, keepdim=True) @ v,
        ),
        (
            "`view` and `reshape` cut the keys anew; only `transpose` makes columns of rows.",
            lambda q, k, v: (q @ k.reshape(k.shape[0], k.shape[2], k.shape[1]) / q.shape[-1] ** 0.5).softmax(-1) @ v,
        ),
    ),
    right="Right: PyTorch's own attention says the same, and the package's UNet calls that.",
)


# ---------------------------------------------------------------- 7.4


def causal_attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, N, N)
    later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ v


def _tokens(random: Generator) -> list[Case]:
    return [
        {name: torch.randn(shape, generator=random) for name in ("q", "k", "v")} for shape in ((2, 4, 5), (3, 6, 7))
    ]


def _masked(hidden: Callable[[Tensor], Tensor], instead: float = -torch.inf) -> Callable:
    """Attention with another mask, or another number in the place of -∞."""

    def masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        return scores.masked_fill(hidden(torch.ones_like(scores)).bool(), instead).softmax(-1) @ v

    return masked


CAUSAL = Exercise(
    "7.4",
    causal_attend,
    _tokens,
    twists.larger("k", "divide the scores by {N} · √d instead of √d: these keys are {N} times as large.", twists.FEW),
    reference=lambda q, k, v: dot_product_attention(q[:, None], k[:, None], v[:, None], causal=True)[:, 0],
    mistakes=(
        ("The mask is missing: no token may look at those after it.", attend),
        (
            "A token may look at itself, and here it is masked: the first one has nobody left, which gives nan.",
            _masked(lambda ones: ones.triu(0)),
        ),
        (
            "The mask is the other way round: a token looks at itself and those before it, not at those after it.",
            _masked(lambda ones: ones.tril(-1)),
        ),
        (
            "What may be seen is masked, and what may not is left: masked are those *after* a token.",
            _masked(lambda ones: ones.tril()),
        ),
        ("The mask begins one token too late: the next one can still be seen.", _masked(lambda ones: ones.triu(2))),
        (
            "Mask the scores before the softmax: with weights set to 0 afterwards, the others don't sum to 1.",
            lambda q, k, v: _weights(q, k).tril() @ v,
        ),
        (
            "−∞ was put among the weights, after the softmax; it belongs among the scores, before it.",
            lambda q, k, v: (
                _weights(q, k).masked_fill(torch.ones(q.shape[1], q.shape[1]).triu(1).bool(), -torch.inf) @ v
            ),
        ),
        (
            "A score of 0 is still a score, and e⁰ = 1: a masked one must be −∞.",
            _masked(lambda ones: ones.triu(1), 0.0),
        ),
        (
            "nan comes out everywhere: every score is masked, or 0 · ∞ was computed; use `masked_fill`.",
            lambda q, k, v: v * torch.nan,
        ),
        ("A masked score of −10 still gets a small weight: it must be −∞.", _masked(lambda ones: ones.triu(1), -10.0)),
        ("A masked score of −1 still gets a weight: it must be −∞.", _masked(lambda ones: ones.triu(1), -1.0)),
        (
            "A masked score must be −∞; +∞, or nan, makes nan of the whole row.",
            _masked(lambda ones: ones.triu(1), torch.inf),
        ),
        (
            "The scores are not divided by √d, as in exercise 7.3.",
            lambda q, k, v: causal_attend(q * q.shape[-1] ** 0.5, k, v),
        ),
        (
            "The softmax goes over the queries (axis 1), not over the tokens that they look at (the last axis).",
            lambda q, k, v: (
                (q @ k.mT / q.shape[-1] ** 0.5)
                .masked_fill(torch.ones(q.shape[1], q.shape[1]).triu(1).bool(), -torch.inf)
                .softmax(1)
                @ v
            ),
        ),
        (
            "The values were masked; what must not be seen are the scores of later tokens.",
            lambda q, k, v: _weights(q, k) @ v.tril(),
        ),
        ("Each token sees only itself; those before it count, too.", lambda q, k, v: v),
        (
            "All tokens before count the same; softmax of the scores weighs them.",
            lambda q, k, v: v.cumsum(1) / torch.arange(1, v.shape[1] + 1)[:, None],
        ),
        (
            "These are the weights: mix the values with them.",
            lambda q, k, v: causal_attend(q, k, torch.eye(v.shape[1]).expand(len(v), -1, -1)),
        ),
        (
            "A token may look at itself, too; here it looks only at those before it, and the first one at nobody.",
            lambda q, k, v: _masked(lambda ones: ones.triu(0))(q, k, v).nan_to_num(0.0),
        ),
        (
            "There is a second softmax, over weights: masked ones are 0 by then, and e⁰ = 1. Mask the scores, once.",
            lambda q, k, v: _weights(q, k).tril().softmax(-1) @ v,
        ),
        (
            "All tokens got the answer of the last one, which sees everything; each has a query of its own.",
            lambda q, k, v: (_weights(q, k)[:, -1:] @ v).expand(v.shape),
        ),
    ),
    right="Right: PyTorch's own with is_causal=True, which the package's text encoder calls.",
)


# ---------------------------------------------------------------- 7.5


def guided(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))
    without, with_prompt = both.chunk(2)
    return without + s * (with_prompt - without)


def _model(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """Depends on all that it is given, in each row on its own."""
    if not len(x) == len(t) == len(context):
        raise ValueError(f"a batch of {len(x)} pictures, {len(t)} steps and {len(context)} prompts")
    read = (context * torch.linspace(0.3, 1.7, context.shape[1])[:, None]).mean((1, 2))[:, None, None, None]
    return 0.7 * x + torch.sin(3 * x + 2 * read) + read + 0.001 * t[:, None, None, None]


def _guidances(random: Generator) -> list[Case]:
    return [
        {
            "model": _model,
            "x": torch.randn(len(t), *shape, generator=random),
            "t": torch.tensor(t),
            "prompt": torch.randn(len(t), *words, generator=random),
            "empty": torch.randn(len(t), *words, generator=random),
            "s": s,
        }
        for t, shape, words, s in (
            ([712, 35], (3, 4, 5), (7, 6), 2.5),
            ([90, 871, 404], (2, 5, 4), (6, 8), 0.6),
            ([3, 650], (4, 3, 6), (5, 7), 7.3),
        )
    ]


def _asked(calls: list[Call]) -> list[int]:
    """How often the model was asked, and for how many rows."""
    return [len(call.given.get("x", ())) for call in calls]


def _twice(change: Callable[[Tensor, Tensor, float], Tensor]) -> Callable:
    """Guidance with another formula for the predictions without and with the prompt."""

    def asked(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
        without, with_prompt = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])).chunk(2)
        return change(without, with_prompt, s)

    return asked


def _interleaved(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    twice = [each.repeat_interleave(2, 0) for each in (x, t)]
    without, with_prompt = model(*twice, torch.cat([empty, prompt])).chunk(2)
    return without + s * (with_prompt - without)


def _taken_apart_in_turns(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))
    return both[::2] + s * (both[1::2] - both[::2])


def _interleaved_throughout(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    both = model(*(each.repeat_interleave(2, 0) for each in (x, t)), torch.cat([empty, prompt]))
    return both[::2] + s * (both[1::2] - both[::2])


def _cut_along_channels(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))
    without, with_prompt = both.chunk(2, 1)
    return without + s * (with_prompt - without)


def _two_rows(model: Callable, x: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, s: float) -> Tensor:
    both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt]))
    return both[0] + s * (both[1] - both[0])


GUIDED = Exercise(
    "7.5",
    guided,
    _guidances,
    twists.larger("s", "`s` is {N} times as large: {N} does what 1 did above, 2 · {N} what 2 did.", twists.MANY),
    reference=lambda model, x, t, prompt, empty, s: guide(model, prompt, empty, s)(x, t),
    watch=_asked,
    mistakes=(
        (
            "With and without have changed places: the way leads away from the prompt.",
            _twice(lambda a, b, s: b + s * (a - b)),
        ),
        (
            "It starts from the prediction *with* the prompt (as for w = s − 1): start from the one without.",
            _twice(lambda a, b, s: b + s * (b - a)),
        ),
        (
            "Only the difference came out: it is to be added to the prediction without the prompt.",
            _twice(lambda a, b, s: s * (b - a)),
        ),
        ("This is the plain prediction with the prompt: `s` has no effect.", _twice(lambda a, b, s: b)),
        ("This is the prediction without the prompt.", _twice(lambda a, b, s: a)),
        (
            "Both predictions were added: their *difference* is what the prompt changes.",
            _twice(lambda a, b, s: a + s * (b + a)),
        ),
        (
            "This is `s` times the prediction with the prompt: `s` multiplies what the prompt *changes*.",
            _twice(lambda a, b, s: s * b),
        ),
        (
            "`s` multiplies the prediction with the prompt only; it multiplies the whole difference.",
            _twice(lambda a, b, s: a + s * b),
        ),
        (
            "The difference is the wrong way round: with the prompt minus without it.",
            _twice(lambda a, b, s: a + s * (a - b)),
        ),
        ("The difference is taken s − 1 times; it is taken `s` times.", _twice(lambda a, b, s: a + (s - 1) * (b - a))),
        ("The difference is divided by `s`; it is taken `s` times.", _twice(lambda a, b, s: a + (b - a) / s)),
        (
            "The mean of both predictions was taken: go `s` times as far from one to the other.",
            _twice(lambda a, b, s: (a + b) / 2),
        ),
        (
            "The model's batch came back whole: take its two halves apart.",
            lambda model, x, t, prompt, empty, s: model(
                torch.cat([x, x]), torch.cat([t, t]), torch.cat([empty, prompt])
            ),
        ),
        (
            "Pictures and prompts don't belong together: `torch.cat([x, x])` repeats the batch, "
            "`repeat_interleave` each row.",
            _interleaved,
        ),
        (
            "The halves were taken apart in turns: the first half of the rows is without the prompt, the "
            "second with it.",
            _taken_apart_in_turns,
        ),
        (
            "The rows were repeated one by one, and the prompts as a batch; then they don't belong together.",
            _interleaved_throughout,
        ),
        (
            "The answer was cut along axis 1, the channels; the two predictions lie one after the other along axis 0.",
            _cut_along_channels,
        ),
        (
            "Of the answer the first two rows were taken; `without` is its first half, `with` its second.",
            _two_rows,
        ),
        (
            "This is `s` times the prediction with the prompt minus the one without: `s` multiplies the *difference*.",
            _twice(lambda a, b, s: s * b - a),
        ),
        (
            "`s` is cut off at 1; beyond it, the prompt is exaggerated.",
            _twice(lambda a, b, s: a + min(s, 1.0) * (b - a)),
        ),
        (
            "The result was scaled back to the standard deviation of the plain prediction, a refinement that the "
            "machine adds later; leave it out.",
            _twice(lambda a, b, s: (a + s * (b - a)) * b.std() / (a + s * (b - a)).std()),
        ),
        (
            "At t ≥ 800 the prompt is followed plainly, a refinement that the machine adds later; leave it out.",
            lambda model, x, t, prompt, empty, s: guided(model, x, t, prompt, empty, 1.0 if t.max() >= 800 else s),
        ),
        (
            "Zeros stand in the place of `empty`: the empty prompt has an embedding of its own.",
            lambda model, x, t, prompt, empty, s: guided(model, x, t, prompt, torch.zeros_like(prompt), s),
        ),
        (
            "All pictures got the first prompt: each has its own.",
            lambda model, x, t, prompt, empty, s: guided(model, x, t, prompt[:1].expand_as(prompt), empty, s),
        ),
        (
            "All pictures got the first step: each has its own t.",
            lambda model, x, t, prompt, empty, s: guided(model, x, t[:1].expand_as(t), prompt, empty, s),
        ),
        (
            "The embeddings were guided, before the model read them; its two predictions are.",
            lambda model, x, t, prompt, empty, s: model(x, t, empty + s * (prompt - empty)),
        ),
    ),
    words={"with_prompt": "with", "both": "both"},
    right="Right. The package's guide does the same.",
)

EXERCISES = (FIRST_LAYER, CONTRASTIVE, ATTENTION, CAUSAL, GUIDED)

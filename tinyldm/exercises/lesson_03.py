"""The exercises of lesson 03, the noise predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..checks import Case, Exercise, Twist
from ..schedule import NoiseSchedule
from . import twists

Block = Callable[[Tensor, Tensor], Tensor]
Resize = Callable[[Tensor], Tensor]


# ---------------------------------------------------------------- 3.1


def nearest_step(lists: Tensor, one: Tensor) -> int:
    return int((lists @ one).argmax())


def _embeddings(random: Generator) -> list[Case]:
    """Rows of one length, as embeddings are; ``one`` of another, and in the last case opposite to them all."""
    cases = []
    for T, d in ((5, 4), (7, 3), (6, 8), (9, 5), (4, 6), (8, 7), (10, 4), (3, 5)):
        lists = F.normalize(torch.randn(T, d, generator=random), dim=1) * 2
        cases.append({"lists": lists, "one": torch.randn(d, generator=random) * 1.5})
    far = F.normalize(torch.rand(6, 4, generator=random) + 0.1, dim=1) * 2
    for end in (0, -1):  # the first row and the last are sometimes the nearest
        lists, one = cases[end]["lists"], cases[end]["one"]
        cases.append({"lists": lists.roll(end - nearest_step(lists, one), 0), "one": one})
    return [*cases, {"lists": far, "one": -torch.rand(4, generator=random) - 0.1}]


def _last_above_zero(lists: Tensor, one: Tensor) -> int:
    return next((i for i in reversed(range(len(lists))) if lists[i] @ one > 0), 0)


NEAREST = Exercise(
    "3.1",
    nearest_step,
    _embeddings,
    twists.counted("the rows are the steps {N}, {N} + 1, {N} + 2 and so on. Return the step, not the row number."),
    mistakes=(
        (
            "A dot product near 0 means 'nothing in common'; the largest is wanted.",
            lambda lists, one: int((lists @ one).abs().argmin()),
        ),
        (
            "The squared differences are not added up for each row: this is the place of the smallest single one.",
            lambda lists, one: int(((lists - one) ** 2).argmin()),
        ),
        (
            "The first row was left out: rows are counted from 0.",
            lambda lists, one: int((lists[1:] @ one).argmax()) + 1,
        ),
        (
            "The last row was left out.",
            lambda lists, one: int((lists[:-1] @ one).argmax()),
        ),
        (
            "Only the first numbers are compared; the products of all of them are to be added up.",
            lambda lists, one: int((lists[:, 0] - one[0]).abs().argmin()),
        ),
        (
            "That is the last row with a dot product above 0: when a better row is found, its dot product is to be "
            "kept, too.",
            _last_above_zero,
        ),
        (
            "That is the largest dot product itself, cut off to an int; its row number is wanted.",
            lambda lists, one: int((lists @ one).max()),
        ),
        (
            "That is the row that is second most alike; the most alike one was asked for.",
            lambda lists, one: int((lists @ one).topk(2).indices[1]),
        ),
        (
            "This is the row that is least alike: of dot products the largest is wanted, of distances the smallest.",
            lambda lists, one: int((lists @ one).argmin()),
        ),
        (
            "This is the row that is farthest away: distances are smallest for what is alike, so of distances "
            "one would take the smallest (or of dot products the largest).",
            lambda lists, one: int((lists - one).abs().sum(1).argmax()),
        ),
        (
            "The sign of a dot product counts: a strongly negative one means opposite, not alike.",
            lambda lists, one: int((lists @ one).abs().argmax()),
        ),
        (
            "Rows are counted from 0.",
            lambda lists, one: int((lists @ one).argmax()) + 1,
        ),
        (
            "`one` plays no part: this is the row with the largest sum.",
            lambda lists, one: int(lists.sum(1).argmax()),
        ),
        (
            "The products are not added up for each row: this is the place of the largest single product.",
            lambda lists, one: int((lists * one).argmax()),
        ),
        (
            "This is the row with the largest single product; all products of a row are to be added up first.",
            lambda lists, one: int((lists * one).amax(1).argmax()),
        ),
        (
            "This is the number of the largest column; the products are to be added up for each row, along axis 1.",
            lambda lists, one: int((lists * one).sum(0).argmax()),
        ),
        (
            "This is the largest dot product itself; its row number is wanted.",
            lambda lists, one: float((lists @ one).max()),
        ),
        (
            "This is the largest distance in one number; the row that is most alike is wanted.",
            lambda lists, one: float((lists - one).norm(dim=1).min()),
        ),
    ),
    right="Right: no two of the thousand vectors look the same.",
)


# ---------------------------------------------------------------- 3.2


def station(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1)


def _stations(random: Generator) -> list[Case]:
    sizes = ((2, 3, 4, 5, 7), (3, 5, 2, 7, 8))
    return [
        {"x": torch.randn(B, C, H, W, generator=random), "skip": torch.randn(B, S, 2 * H, 2 * W, generator=random)}
        for B, C, H, W, S in sizes
    ]


def _grown(x: Tensor, mode: str = "nearest", **options: Any) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode=mode, **options)


def _spread(x: Tensor) -> Tensor:
    """Each pixel in the corner of a square of four, zeros beside it."""
    return F.conv_transpose2d(x, torch.eye(x.shape[1])[:, :, None, None], stride=2, output_padding=1)


STATION = Exercise(
    "3.2",
    station,
    _stations,
    gradients=("x", "skip"),
    twist=twists.larger("skip", "divide the skip by {N} before you concatenate (some networks scale their skips)."),
    mistakes=(
        (
            "Only the first channels of the skip came along; all of them are to stand behind.",
            lambda x, skip: torch.cat([_grown(x), skip[:, : x.shape[1]]], dim=1),
        ),
        (
            "A skip of a UNet is put behind, not added: the result has the channels of both.",
            lambda x, skip: _grown(x) + skip[:, : x.shape[1]],
        ),
        (
            "The pixel's value is shared out among the four; each of them is to have all of it.",
            lambda x, skip: torch.cat([_grown(x) / 4, skip], dim=1),
        ),
        (
            "x is filled up with zeros at its edge; each pixel is to become a 2 × 2 square.",
            lambda x, skip: torch.cat([F.pad(x, (0, x.shape[3], 0, x.shape[2])), skip], dim=1),
        ),
        ("The skip is missing: `torch.cat` puts it behind, as further channels.", lambda x, skip: _grown(x)),
        (
            "First what comes from below, then the skip: here they have changed places.",
            lambda x, skip: torch.cat([skip, _grown(x)], dim=1),
        ),
        (
            "Each pixel is to be repeated, so that it becomes a 2 × 2 square; here values between the pixels "
            "were computed.",
            lambda x, skip: torch.cat([_grown(x, "bilinear"), skip], dim=1),
        ),
        (
            "Each pixel is to be repeated, so that it becomes a 2 × 2 square; here values between the pixels "
            "were computed.",
            lambda x, skip: torch.cat([_grown(x, "bilinear", align_corners=True), skip], dim=1),
        ),
        (
            "Each pixel is to be repeated, so that it becomes a 2 × 2 square; here values between the pixels "
            "were computed.",
            lambda x, skip: torch.cat([_grown(x, "bicubic"), skip], dim=1),
        ),
        (
            "The whole picture is repeated side by side; each pixel is to become a 2 × 2 square.",
            lambda x, skip: torch.cat([x.repeat(1, 1, 2, 2), skip], dim=1),
        ),
        (
            "Three of the four pixels of each square are 0; all four are to have the pixel's value.",
            lambda x, skip: torch.cat([_spread(x), skip], dim=1),
        ),
        (
            "x is not doubled: instead, the skip was made smaller, and its detail is lost.",
            lambda x, skip: torch.cat([x, F.avg_pool2d(skip, 2)], dim=1),
        ),
        (
            "x is not doubled: instead, the skip was made smaller, and its detail is lost.",
            lambda x, skip: torch.cat([x, skip[:, :, ::2, ::2]], dim=1),
        ),
        (
            "x must be doubled, in height and in width, before the skip can stand behind it: their sizes have "
            "to be the same.",
            lambda x, skip: torch.cat([x, skip], dim=1),
        ),
        (
            "The skip was made larger, too; it has its size already, only x is to be doubled.",
            lambda x, skip: _grown(torch.cat([x, F.avg_pool2d(skip, 2)], dim=1)),
        ),
        (
            "A skip of a UNet is put behind, not added: the result has the channels of both.",
            lambda x, skip: _grown(x) + skip,
        ),
        (
            "The skip stands behind as further pictures of the batch; it must stand behind as further channels.",
            lambda x, skip: torch.cat([_grown(x), skip], dim=0),
        ),
        (
            "Height was doubled, width was not.",
            lambda x, skip: torch.cat([x.repeat_interleave(2, 2), skip], dim=1),
        ),
        (
            "x must be doubled, in height and in width, before the skip can stand behind it: their sizes have "
            "to be the same.",
            lambda x, skip: torch.cat([x.repeat_interleave(2, 3), skip], dim=1),
        ),
        (
            "x is missing: only the skip comes out.",
            lambda x, skip: skip,
        ),
    ),
    right="Right: so it goes on the way up. (The package keeps two skips for each size.)",
)


# ---------------------------------------------------------------- 3.3


def noise_loss(model: Callable, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    x_t = schedule.add_noise(x0, noise, t)
    return F.mse_loss(model(x_t, t), noise)


def _batches(random: Generator) -> list[Case]:
    def model(x: Tensor, t: Tensor) -> Tensor:
        if x.ndim != 4 or t.ndim != 1:
            raise ValueError(
                f"model(x_t, t) takes (B, C, H, W) and (B,), and was given {tuple(x.shape)}, {tuple(t.shape)}"
            )
        return x * 0.7 + torch.sin(2 * x) * 0.4 + t[:, None, None, None] * 0.15

    schedule = NoiseSchedule(torch.tensor([0.93, 0.81, 0.58, 0.37, 0.16]))
    return [
        {
            "model": model,
            "schedule": schedule,
            "x0": torch.randn(len(t), *shape, generator=random) * 0.8,
            "noise": torch.randn(len(t), *shape, generator=random),
            "t": torch.tensor(t),
        }
        for t, shape in (([3, 0, 2], (2, 5, 4)), ([1, 4], (3, 4, 6)))
    ]


def _told(model: Callable, more: int) -> Callable:
    """A model that counts steps from somewhere else."""

    def counting(x: Tensor, t: Tensor) -> Tensor:
        return model(x, t + more)

    return counting


def _without_roots(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    a = schedule.alphas_cumprod[t][:, None, None, None]
    return a * x0 + (1 - a) * noise


LOSS = Exercise(
    "3.3",
    noise_loss,
    _batches,
    Twist(
        "this model counts steps from {N}: pass it t + {N}. The schedule still counts from 0.",
        twists.MANY,
        ask=lambda N, model, **given: {"model": _told(model, -N)},
        take=lambda N, model, **given: {"model": _told(model, N)},
    ),
    gradients=("x0",),
    mistakes=(
        (
            "Only the last picture counts: the loss of each is to be averaged.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0[-1:], noise[-1:], t[-1:]),
        ),
        (
            "Only the first picture counts: the loss of each is to be averaged.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0[:1], noise[:1], t[:1]),
        ),
        (
            "The variance of the differences leaves out their mean; the mean of their squares is the loss.",
            lambda model, schedule, x0, noise, t: (model(schedule.add_noise(x0, noise, t), t) - noise).var(),
        ),
        (
            "The cosine compares directions only; the loss is the mean of the squared differences.",
            lambda model, schedule, x0, noise, t: (
                1 - F.cosine_similarity(model(schedule.add_noise(x0, noise, t), t).flatten(), noise.flatten(), dim=0)
            ),
        ),
        (
            "The pictures are weighted by ᾱ; the loss is a plain mean.",
            lambda model, schedule, x0, noise, t: (
                schedule.alphas_cumprod[t][:, None, None, None]
                * (model(schedule.add_noise(x0, noise, t), t) - noise) ** 2
            ).mean(),
        ),
        (
            "x_t - x0 is not the noise: in x_t, the picture has shrunk, and the noise too. Compare with `noise` "
            "itself.",
            lambda model, schedule, x0, noise, t: F.mse_loss(
                model(schedule.add_noise(x0, noise, t), t), schedule.add_noise(x0, noise, t) - x0
            ),
        ),
        (
            "The answer was compared with the picture; it must be compared with the noise.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(schedule.add_noise(x0, noise, t), t), x0),
        ),
        (
            "The answer was compared with the noisy picture; it must be compared with the noise.",
            lambda model, schedule, x0, noise, t: F.mse_loss(
                model(schedule.add_noise(x0, noise, t), t), schedule.add_noise(x0, noise, t)
            ),
        ),
        (
            "The target is the noise; here it is v, which comes later in the lesson.",
            lambda model, schedule, x0, noise, t: F.mse_loss(
                model(schedule.add_noise(x0, noise, t), t), schedule.target(x0, noise, t, "v_prediction")
            ),
        ),
        (
            "The guessed picture was compared with the clean one; the answer, the noise, is to be compared itself.",
            lambda model, schedule, x0, noise, t: F.mse_loss(
                schedule.to_x0(model(schedule.add_noise(x0, noise, t), t), schedule.add_noise(x0, noise, t), t), x0
            ),
        ),
        (
            "The picture was noised to one step more than t.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(schedule.add_noise(x0, noise, t + 1), t), noise),
        ),
        (
            "Variances were used where their square roots belong; `schedule.add_noise` has them right.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(_without_roots(schedule, x0, noise, t), t), noise),
        ),
        (
            "The model must see the noisy picture, x_t; it was given the clean one.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(x0, t), noise),
        ),
        (
            "The model must see the noisy picture, x_t; it was given the noise alone.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(noise, t), noise),
        ),
        (
            "Picture and noise are plainly added; how much of each is left at step t, `schedule.add_noise` knows.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(x0 + noise, t), noise),
        ),
        (
            "In the call of `add_noise`, picture and noise have changed places.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(schedule.add_noise(noise, x0, t), t), noise),
        ),
        (
            "In the call of `add_noise`, noise and t have changed places.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(schedule.add_noise(x0, t, noise), t), noise),
        ),
        (
            "The model must be told t, each picture's own; it was told 0 for all.",
            lambda model, schedule, x0, noise, t: F.mse_loss(model(schedule.add_noise(x0, noise, t), 0 * t), noise),
        ),
        (
            "All pictures get the first one's step: each has its own t.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t[:1].expand(len(t))),
        ),
        (
            "The steps of the pictures are in the wrong order.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t.flip(0)),
        ),
        (
            "The mean of the absolute differences was taken; the loss is the mean of their squares.",
            lambda model, schedule, x0, noise, t: F.l1_loss(model(schedule.add_noise(x0, noise, t), t), noise),
        ),
        (
            "First the squares, then their mean; here the mean difference was squared, in which differences cancel.",
            lambda model, schedule, x0, noise, t: (model(schedule.add_noise(x0, noise, t), t) - noise).mean() ** 2,
        ),
        (
            "The squares are missing: plain differences cancel each other in a mean.",
            lambda model, schedule, x0, noise, t: (model(schedule.add_noise(x0, noise, t), t) - noise).mean(),
        ),
        (
            "The squares are missing: plain differences cancel each other in a mean.",
            lambda model, schedule, x0, noise, t: (noise - model(schedule.add_noise(x0, noise, t), t)).mean(),
        ),
        (
            "There is a square root too many: the mean of the squares is the loss.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t).sqrt(),
        ),
        (
            "The squares were added up; their mean was asked for, which doesn't grow with the picture.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t) * x0.numel(),
        ),
        (
            "The squares of each picture were added up, and only over the pictures the mean was taken; take it "
            "over everything.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t) * x0[0].numel(),
        ),
        (
            "The loss is one number: the mean over all pictures and pixels is still to be taken.",
            lambda model, schedule, x0, noise, t: (model(schedule.add_noise(x0, noise, t), t) - noise) ** 2,
        ),
        (
            "The mean was taken for each picture alone; the loss is one number, the mean over all of them.",
            lambda model, schedule, x0, noise, t: ((model(schedule.add_noise(x0, noise, t), t) - noise) ** 2).mean(
                (1, 2, 3)
            ),
        ),
        (
            "This is half of the loss: the mean of the squares, without a factor.",
            lambda model, schedule, x0, noise, t: noise_loss(model, schedule, x0, noise, t) / 2,
        ),
        (
            "The answer is the noise itself, not the picture without it: nothing is subtracted from x_t before "
            "comparing.",
            lambda model, schedule, x0, noise, t: F.mse_loss(
                schedule.add_noise(x0, noise, t) - model(schedule.add_noise(x0, noise, t), t), noise
            ),
        ),
    ),
    words={"x_t": "x_t"},
    right="Right. This is the whole objective of diffusion: Ho et al. 2020, eq. 14.",
)


# ---------------------------------------------------------------- 3.4


def small_unet(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    skips = []
    for block, downsample in downs:
        x = block(x, time)
        skips.append(x)
        x = downsample(x)
    x = middle(x, time)
    for upsample, block in ups:
        x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)
    return x


def _unets(random: Generator) -> list[Case]:
    return [_unet(random, 2, (4, 7, 8, 9), (20, 12), 11), _unet(random, 5, (7, 9, 10, 11, 13), (16, 24), 17)]


def _unet(random: Generator, batch: int, widths: tuple[int, ...], size: tuple[int, int], time: int) -> Case:
    """Blocks that halve and double as a UNet's do; ``widths``: channels of x, at each size, and in the middle."""
    outer, levels, bottom = widths[0], widths[1:-1], widths[-1]
    below = (*levels[1:], bottom)
    return {
        "x": torch.randn(batch, outer, *size, generator=random),
        "time": torch.randn(batch, time, generator=random),
        "downs": [
            (_block(random, before, after, time), _half(random, after))
            for before, after in zip(widths[:-2], levels, strict=True)
        ],
        "middle": _block(random, levels[-1], bottom, time),
        "ups": [
            (_double(random, lower), _block(random, lower + level, level, time))
            for lower, level in list(zip(below, levels, strict=True))[::-1]
        ],
    }


def _block(random: Generator, before: int, after: int, width: int) -> Block:
    mix = torch.randn(after, before, generator=random) / before**0.5
    shift = torch.randn(after, width, generator=random) / width**0.5

    def block(x: Tensor, time: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != before:
            raise ValueError(f"this block takes (B, {before}, H, W), and was given {tuple(x.shape)}")
        h = torch.einsum("ab,nbhw->nahw", mix, x) + (time @ shift.T)[:, :, None, None]
        return h + 0.5 * torch.sin(2 * h)

    return block


def _half(random: Generator, channels: int) -> Resize:
    scale = torch.rand(channels, 1, 1, generator=random) + 0.5

    def downsample(x: Tensor) -> Tensor:
        if x.shape[1] != channels:
            raise ValueError(f"this downsample takes {channels} channels, and was given {x.shape[1]}")
        return F.avg_pool2d(x, 2) * scale

    return downsample


def _double(random: Generator, channels: int) -> Resize:
    scale = torch.rand(channels, 1, 1, generator=random) + 0.5

    def upsample(x: Tensor) -> Tensor:
        if x.shape[1] != channels:
            raise ValueError(f"this upsample takes {channels} channels, and was given {x.shape[1]}")
        return F.interpolate(x, scale_factor=2.0) * scale

    return upsample


def _walked(
    x: Tensor,
    time: Tensor,
    downs: list,
    middle: Block,
    ups: list,
    *,
    take: Callable[[list], Tensor] = lambda skips: skips.pop(),
    join: Callable[[Tensor, Tensor], Tensor] = lambda below, skip: torch.cat([below, skip], dim=1),
    keep: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda before, block, down: block,
) -> Tensor:
    """The answer, with another skip taken or kept, or joined otherwise."""
    skips = []
    for block, downsample in downs:
        before, x = x, block(x, time)
        down = downsample(x)
        skips.append(keep(before, x, down))
        x = down
    x = middle(x, time)
    for upsample, block in ups:
        x = block(join(upsample(x), take(skips)), time)
    return x


def _without_middle(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    return small_unet(x, time, downs, lambda x, time: x, ups)


def _first_size_twice(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    """The result of a block is kept as a skip, but the block's input goes on."""
    skips = []
    for block, downsample in downs:
        skips.append(block(x, time))
        x = downsample(x)
    x = middle(x, time)
    for upsample, block in ups:
        x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)
    return x


def _never_down(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    return small_unet(x, time, [(block, lambda x: x) for block, _ in downs], middle, ups)


def _never_up(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    return small_unet(x, time, downs, middle, [(lambda x: x, block) for _, block in ups])


def _joined_below(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    return _walked(x, time, downs, middle, ups, keep=lambda before, block, down: down)


def _middle_each_time(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    skips = []
    for block, downsample in downs:
        x = block(x, time)
        skips.append(x)
        x = middle(downsample(x), time)
    for upsample, block in ups:
        x = block(torch.cat([upsample(x), skips.pop()], dim=1), time)
    return x


def _not_kept(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
    skips = []
    for block, downsample in downs:
        skips.append(block(x, time))
        x = downsample(skips[-1])
    x = middle(x, time)
    for upsample, block in ups:
        h = block(torch.cat([upsample(x), skips.pop()], dim=1), time)
    return h


def _walking(**changes: Callable) -> Callable:
    """`_walked` with a change, as a function of the exercise's arguments."""

    def function(x: Tensor, time: Tensor, downs: list, middle: Block, ups: list) -> Tensor:
        return _walked(x, time, downs, middle, ups, **changes)

    return function


UNET = Exercise(
    "3.4",
    small_unet,
    _unets,
    twists.larger("time", "`time` is {N} times too large: divide it by {N} first."),
    gradients=("x", "time"),
    mistakes=(
        (
            "The middle comes once, when the way down is over; here it comes after each downsampling.",
            _middle_each_time,
        ),
        (
            "On the way up, each block's result must go on into the next upsampling; here each gets what the middle "
            "made.",
            _not_kept,
        ),
        (
            "The skip is put behind as further channels, dimension 1; here it was another dimension.",
            _walking(join=lambda below, skip: torch.cat([below, skip], dim=0)),
        ),
        (
            "The skip is put behind as further channels, dimension 1; here it was another dimension.",
            _walking(join=lambda below, skip: torch.cat([below, skip], dim=-1)),
        ),
        (
            "The skip is put behind as further channels, dimension 1; here it was another dimension.",
            _walking(join=lambda below, skip: torch.cat([below, skip], dim=2)),
        ),
        (
            "The oldest skip was taken first; the deepest block on the way up needs the newest.",
            _walking(take=lambda skips: skips.pop(0)),
        ),
        (
            "The same skip is taken again and again: each is used once, the newest first.",
            _walking(take=lambda skips: skips[-1]),
        ),
        (
            "The oldest skip was taken first; the deepest block on the way up needs the newest.",
            _walking(take=lambda skips: skips[0]),
        ),
        (
            "First what comes from below, then the skip: here they have changed places.",
            _walking(join=lambda below, skip: torch.cat([skip, below], dim=1)),
        ),
        (
            "A skip is put behind as further channels, not added.",
            _walking(join=lambda below, skip: below + skip),
        ),
        (
            "The skips are missing: each block on the way up gets one behind what comes from below.",
            _walking(join=lambda below, skip: below),
        ),
        (
            "What comes from below is missing: each block on the way up gets it in front of the skip.",
            _walking(join=lambda below, skip: skip),
        ),
        (
            "The skip was kept after the downsampling, so it is too small; the block's result before it is needed.",
            _joined_below,
        ),
        (
            "The skip was kept before the block; the block's result is needed.",
            _walking(keep=lambda before, block, down: before),
        ),
        ("The middle is missing: between the way down and the way up stands `middle`.", _without_middle),
        (
            "`downsample` was given what goes into the block; it is the block's result that is kept as a skip "
            "and then downsampled.",
            _first_size_twice,
        ),
        ("Nothing is downsampled on the way down.", _never_down),
        ("On the way up, x must be upsampled before the skip can stand behind it.", _never_up),
        (
            "The time does not reach the middle: every block is called with it.",
            lambda x, time, downs, middle, ups: small_unet(x, time, downs, lambda x, time: middle(x, 0 * time), ups),
        ),
        (
            "The ups are walked through backwards; they come in the order in which they are used, from coarse to fine.",
            lambda x, time, downs, middle, ups: small_unet(x, time, downs, middle, ups[::-1]),
        ),
        (
            "The downs are walked through backwards; they come in the order in which they are used, from fine "
            "to coarse.",
            lambda x, time, downs, middle, ups: small_unet(x, time, downs[::-1], middle, ups),
        ),
        (
            "A block was called without `time`, perhaps in the place of `upsample`: blocks are called as "
            "`block(x, time)`, and the pairs of `ups` are (upsample, block).",
            lambda x, time, downs, middle, ups: small_unet(x, time, downs, middle, [(b, a) for a, b in ups]),
        ),
        (
            "`downsample` takes x alone, and here it was called with the time, too. (The pairs of `downs` are (block, "
            "downsample).)",
            lambda x, time, downs, middle, ups: small_unet(x, time, [(b, a) for a, b in downs], middle, ups),
        ),
        (
            "The walk ends in the middle: the way up is missing.",
            lambda x, time, downs, middle, ups: small_unet(x, time, downs, middle, []),
        ),
    ),
    right="Right: that is a UNet. The package's has two blocks for each size of the way up.",
)


EXERCISES = (NEAREST, STATION, LOSS, UNET)

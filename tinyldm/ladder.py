"""All methods of the course side by side: the last table of lesson 08, and the README's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from tinyldm.data import CaptionedMNIST
from tinyldm.diffusion import DiffusionModel
from tinyldm.evaluation import Judge, frechet_beside_floor, prompt_fidelity, read
from tinyldm.gan import Generator
from tinyldm.pipeline import TextToImage
from tinyldm.vqvae import VQVAE, CodePrior
from tinyldm.weights import read_weights


def ladder(n: int = 1000, seed: int = 0, device: str | None = None, models: Path | None = None) -> str:
    """All methods of the course side by side, from the shipped weights: a Markdown table.

    With a folder ``models``, as `tinyldm train all` fills it, a last row is for the machine in it.

    Parameters and minutes of training are totals over all files that a method needs; the text encoder isn't counted for
    "latent diffusion", whose prompt is always empty. Fréchet distances are for ``n`` images and compare shapes only;
    "all named right" is the fraction of images that match their captions.
    """
    pipeline, test = TextToImage.from_pretrained(device=device), CaptionedMNIST("test", seed=seed, limit=n)
    gan, pixel = Generator.from_pretrained(), DiffusionModel.from_pretrained("pixel")
    vqvae, prior = VQVAE.from_pretrained(), CodePrior.from_pretrained()
    for model in (gan, pixel, vqvae, prior):
        model.to(pipeline.device)
    latent, judge = ["vae", "unet"], Judge.from_pretrained()
    methods: list[tuple[str, list[str], Callable[[int], Tensor]]] = [  # name, files, and how to generate n images
        ("GAN", ["gan"], lambda n: gan.images(n, seed)),
        ("diffusion on pixels", ["pixel"], lambda n: pixel.images(n, seed=seed)),
        ("VAE alone, latents from N(0, 1)", ["vae"], lambda n: pipeline.vae.images(n, seed)),
        ("VQ-VAE with its prior", ["vqvae", "prior"], lambda n: vqvae.images(prior, n, seed)),
        ("latent diffusion", latent, lambda n: pipeline.images([""] * n, seed=seed, guidance_scale=1)),
        (
            "latent diffusion with text",
            [*latent, "text_encoder"],
            lambda n: pipeline.images(test.captions[:n], seed=seed),
        ),
    ]
    bar = tqdm(methods, desc="ladder", unit="method", leave=False)
    rungs = [_rung(name, files, draw, test, judge) for name, files, draw in bar]
    if models is not None:
        own, files = TextToImage.from_pretrained(models, device), methods[-1][1]
        rungs.append(_rung("your own", files, lambda n: own.images(test.captions[:n], seed=seed), test, judge, models))
    floor = rungs[0][1]
    distance = f"Fréchet distance at N = {n:,} (real against real: {floor:.2f})"
    head = ["method", "million parameters", "minutes of training", "on", "ms a picture", distance, "all named right"]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *[line for line, _ in rungs]])


def _rung(
    name: str,
    files: list[str],
    draw: Callable[[int], Tensor],
    test: CaptionedMNIST,
    judge: Judge,
    folder: Path | None = None,
) -> tuple[str, float]:
    """A row of the table, and the distance between real and real digits."""
    draw(2)  # the first call is slower
    start = time.perf_counter()
    images = draw(len(test)).cpu()
    milliseconds = 1000 * (time.perf_counter() - start) / len(test)
    distance, floor = frechet_beside_floor(images, judge=judge)
    named = "-"
    if "text_encoder" in files:
        seen = [row for part in images.split(500) for row in read(part, judge)]
        named = f"{prompt_fidelity(test.named, seen)['all']:.1%}"
    weights = [read_weights(file, folder) for file in files]
    parameters = sum(tensor.numel() for state, _ in weights for tensor in state.values()) / 1e6
    minutes = sum(metadata["seconds"] for _, metadata in weights) / 60
    hardware = "; ".join(dict.fromkeys(metadata["hardware"] for _, metadata in weights))
    cells = [f"{parameters:.2f}", f"{minutes:.0f}", hardware, f"{milliseconds:.1f}", f"{distance:.2f}", named]
    return f"| {name} | {' | '.join(cells)} |", floor

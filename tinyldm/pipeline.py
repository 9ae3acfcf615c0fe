"""From prompt to image: text -> (sampler <-> UNet, guidance) -> autoencoder.decode -> image.

Design choices
- The pipeline has no mathematics of its own: it only passes each part's result to the next, in the order above.
- Latents are never clipped: only pixels are bounded.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import TinyldmWarning, UserError
from tinyldm.captions import SLIPS, is_explained, near_miss, shorten, unmet, words_of
from tinyldm.devices import autocast, checked_precision, device_named, device_of, generator_from, pictures_per_batch
from tinyldm.diffusion import DiffusionConfig, DiffusionModel
from tinyldm.guidance import guide, keep_known
from tinyldm.images import ImageLike, image_and_mask, to_pil
from tinyldm.samplers import SampleStep, denoiser, sample, timesteps
from tinyldm.text import END, UNKNOWN, PromptWarning, TextEncoder, clip_tokenizer, tokenize
from tinyldm.unet import UNet
from tinyldm.vae import VAE

MAX_GUIDANCE = 30.0


class TextToImage:
    """Give it a prompt and it returns an image.

    >>> pipeline = TextToImage.from_pretrained()
    >>> pipeline("a thick red seven leaning left", seed=0).save("seven.png")
    """

    def __init__(
        self, vae: VAE, text_encoder: TextEncoder, unet: UNet, config: DiffusionConfig, precision: str | None = None
    ):
        if unet.config.context_dim != text_encoder.config.hidden_size:
            raise UserError(
                f"the UNet reads embeddings of width {unet.config.context_dim}, "
                f"but the text encoder writes {text_encoder.config.hidden_size}"
            )
        if unet.config.in_channels != vae.config.latent_channels:
            raise UserError(
                f"the UNet works on {unet.config.in_channels} latent channels, "
                f"but the autoencoder has {vae.config.latent_channels}"
            )
        self.vae, self.text_encoder, self.unet, self.config = vae, text_encoder, unet, config
        self.schedule, self.precision = config.schedule(), checked_precision(precision)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | None = None,
        device: str | torch.device | None = None,
        precision: str | None = None,
    ) -> TextToImage:
        """The shipped model, or one from a folder.

        Args:
            folder: of the weights; by default the shipped ones.
            device: by default `devices.best_device`.
            precision: in which the networks compute, "fp32", "bf16" or "fp16". By default bfloat16 where the hardware
                is fast at it, float32 elsewhere and for fewer than eight pictures. What goes from one network to the
                next is float32 in any case.

        Raises:
            UserError: if there is no such device here, or no such precision.
            WeightsError: if a file is missing, damaged, or does not match its settings.
        """
        device = device_named(device)
        vae = VAE.from_pretrained(folder)
        model = DiffusionModel.from_pretrained("unet", folder)
        text_encoder = TextEncoder.from_pretrained(folder)
        return cls(vae, text_encoder, model.unet, model.config, precision).to(device)

    def to(self, device: str | torch.device) -> TextToImage:
        """Move all parts to a device."""
        for part in (self.vae, self.text_encoder, self.unet):
            part.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The UNet's device, on which everything runs."""
        return device_of(self.unet)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights; everything between the networks is float32."""
        return next(self.unet.parameters()).dtype

    @property
    def batch(self) -> int:
        """How many images are generated at once: 64 of ours (1,024 on an NVIDIA GPU), one of Stable Diffusion's."""
        size = self.config.sample_size
        return pictures_per_batch(self.device) if size <= 8 else max(1, 64 * 8**2 // size**2)

    def __call__(self, prompts: str | Sequence[str], *, seed: int | None = None, **options: Any) -> Any:
        """Generate an image for each prompt.

        Args:
            prompts: one prompt or several; an empty one leaves everything to chance.
            seed: an integer (numpy's and torch's too) in [0, 2^63). The same seed gives the same images on the same
                machine, and up to rounding on every device: noise is drawn on the CPU. (With samplers that draw noise
                on the way, that holds within one batch.) None gives different ones each time.
            **options: as for `stream`; ``generator`` takes the place of ``seed``.

        Returns:
            A 32x32 PIL image for one prompt, a list of them for several.
        """
        images = [to_pil(image) for image in self.images(prompts, seed=seed, **options)]
        return images[0] if isinstance(prompts, str) else images

    def image_to_image(
        self, image: ImageLike, prompts: str | Sequence[str], *, strength: float = 0.6, **options: Any
    ) -> Any:
        """Redraw an image: encode it, noise it part of the way, denoise it with the prompt (Meng et al. 2022).

        Args:
            image: a PIL image or file of any size and kind; an array (H, W, 3), in [0, 1] if it has floats; a tensor
                (3, H, W) in [-1, 1]; see `images.open_image`.
            prompts: one prompt or several, each applied to the same image.
            strength: from 0 (the image comes back as the autoencoder reconstructs it) to 1 (it no longer matters).
            **options: as for calling the pipeline.

        Raises:
            UserError: if the image cannot be read, the strength is not in [0, 1], or an option is out of range.
        """
        return self(prompts, image=image, strength=strength, **options)

    def inpaint(
        self,
        image: ImageLike,
        mask: ImageLike,
        prompts: str | Sequence[str],
        *,
        strength: float = 1.0,
        **options: Any,
    ) -> Any:
        """Redraw only part of an image; the rest stays exactly as it is, pixel by pixel.

        Args:
            mask: like ``image`` and of the same size, or (H, W) of 0 and 1 or of bool. White is redrawn, black stays;
                on a clear layer, what is drawn is redrawn; see `images.open_mask`.
            image, prompts, strength, **options: as for `image_to_image`.

        Raises:
            UserError: as for `image_to_image`, or if there is no mask, or one that can be understood in several ways,
                or image and mask have different sizes.
        """
        if mask is None:
            raise UserError("inpaint needs a mask; to redraw the whole picture, use image_to_image")
        return self(prompts, image=image, mask=mask, strength=strength, **options)

    def images(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
        image: ImageLike | None = None,
        mask: ImageLike | None = None,
        **options: Any,
    ) -> Tensor:
        """Like calling, but returns a tensor (B, 3, 32, 32) in [-1, 1]. ``progress`` shows a bar over the batches."""
        from tqdm.auto import tqdm

        prompts = _texts(prompts)
        self._warn(prompts, _negative(options.get("negative_prompt", "")))  # about all, before the work begins
        generator = generator_from(seed, generator)
        keep = self._start_from(image, mask, options)
        parts = []
        firsts = range(0, len(prompts), self.batch)
        for first in tqdm(firsts, desc=f"batches of {self.batch}", disable=not progress or len(firsts) == 1):
            batch = prompts[first : first + self.batch]
            for step in self.stream(batch, generator=generator, warn=False, **options):
                latents = step.x
            parts.append(self.decode(latents))
            self._check_finite(batch, latents, parts[-1], options.get("init_latents"))
        return keep(torch.cat(parts))

    def frames(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        image: ImageLike | None = None,
        mask: ImageLike | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """How one batch of images forms: what each step expects, then the images; arguments and shape as for `images`.

        >>> *forming, images = pipeline.frames(["seven", "8"], seed=0)
        """
        keep, generator = self._start_from(image, mask, options), generator_from(seed, generator)
        for step in self.stream(prompts, generator=generator, **options):
            yield keep(self.decode(step.x0))
        images = self.decode(step.x)
        self._check_finite(_texts(prompts), step.x, images, options.get("init_latents"))
        yield keep(images)

    def _check_finite(self, prompts: list[str], latents: Tensor, images: Tensor, started_from: Tensor | None) -> None:
        """Warn of nan and infinity, which look black or white, naming the part that they come from, and a cure."""
        if latents.isfinite().all() and images.isfinite().all():
            return
        name, part = "UNet", cast(nn.Module, self.unet)
        if latents.isfinite().all() or (started_from is not None and not started_from.isfinite().all()):
            name, part = "autoencoder", self.vae
        elif not self.embed(prompts).isfinite().all():
            name, part = "text encoder", self.text_encoder
        cure = "load the model with dtype=torch.float32"
        if not all(value.isfinite().all() for value in part.state_dict().values()):
            cure = "its weights are damaged, load another file"
        elif self.dtype == torch.float32:
            cure = "its weights do not fit the settings, or a training of theirs has failed"
        warnings.warn(
            f"the {name} computes nan or infinity, the pictures are wrong: {cure}", TinyldmWarning, stacklevel=3
        )

    def _start_from(
        self, image: ImageLike | None, mask: ImageLike | None, options: dict[str, Any]
    ) -> Callable[[Tensor], Tensor]:
        """Add the picture to start from to the options of `stream`; returns what puts its kept pixels back."""
        if image is None:
            if mask is not None or "strength" in options:
                raise UserError("mask and strength need image, the picture to start from")
            return lambda drawn: drawn
        given, redrawn = image_and_mask(image, mask, self.config.sample_size * self.vae.config.downsampling)
        options["init_latents"] = self.encode(given)
        if redrawn is None:
            return lambda drawn: drawn
        where = redrawn.to(self.device)
        options["mask"] = F.max_pool2d(where, self.vae.config.downsampling)  # redrawn if any of its pixels is
        return lambda drawn: torch.where(where > 0, drawn, given.to(drawn))

    def stream(
        self,
        prompts: str | Sequence[str],
        *,
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        generator: torch.Generator | None = None,
        init_latents: Tensor | None = None,
        mask: Tensor | None = None,
        strength: float = 1.0,
        warn: bool = True,
    ) -> Iterator[SampleStep]:
        """Generate one batch and yield every step: ``step.x0`` estimates the latents, `decode` makes images of them.

        Args:
            prompts: one per image.
            negative_prompt: what to avoid; guidance leads away from it instead of from the empty prompt.
            num_inference_steps: steps of the sampler, 1 to 1000.
            guidance_scale: how far to exaggerate the prompt, up to 30. Up to 1 it is followed plainly, without guidance
                and negative prompt, as in diffusers; see `guide`.
            sampler: "ddpm", "ddim", "dpm++", "euler" or "heun".
            generator: source of the initial noise and of all later noise, on any device; None creates a new one.
            init_latents: latents of an image to start from, (1, 4, 8, 8).
            mask: 1 where ``init_latents`` are to be redrawn, 0 where they stay, (1, 1, 8, 8).
            strength: how far ``init_latents`` are noised, in [0, 1]; see `image_to_image`.
            warn: name what the prompts ask for that cannot be drawn (`PromptWarning`).

        Raises:
            UserError: if there are no prompts or an option is out of range.
        """
        prompts = _texts(prompts)
        negative_prompt = _negative(negative_prompt)
        if warn:
            self._warn(prompts, negative_prompt)
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        if not hasattr(scale, "__float__") or not (math.isfinite(scale) and 0 <= scale <= MAX_GUIDANCE):
            raise UserError(f"guidance must be between 0 and {MAX_GUIDANCE:g}, not {scale!r}")
        context, negative = (self._read(texts, len(prompts)) for texts in (prompts, [negative_prompt]))
        below = len(self.schedule) if negative_prompt else self.config.guidance_below  # avoid it from the first step
        if scale <= 1 and negative_prompt:
            warnings.warn("without guidance (above 1), a negative prompt has no effect", PromptWarning, stacklevel=2)
        predict = guide(
            self._predict(len(prompts)), context, negative, max(scale, 1.0), below, self.config.guidance_rescale
        )
        generator = generator_from(None, generator)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        shape = (len(prompts), self.vae.config.latent_channels, self.config.sample_size, self.config.sample_size)
        x = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(self.device)
        sampler = self.config.sampler if sampler is None else sampler
        visited = timesteps(self.schedule, steps, self.config.spacing, self.config.steps_offset, sampler)
        if mask is not None and (init_latents is None or not ((mask >= 0) & (mask <= 1)).all()):
            raise UserError("mask needs init_latents, and its numbers must be in [0, 1]")
        denoise, start = denoiser(predict, self.schedule, self.config.prediction_type), 0
        if init_latents is not None:
            if not hasattr(strength, "__float__") or not 0 <= strength <= 1:
                raise UserError(f"strength must be between 0 and 1, not {strength!r}")
            init_latents = init_latents.expand(shape)
            start = steps - round(strength * steps)
            if start == steps:
                return iter([SampleStep(0, 0, init_latents, init_latents)])  # no noise, nothing to remove
            x = self.schedule.add_noise(init_latents, x, visited[start])  # exactly where the sampler begins
            if mask is not None:
                denoise = keep_known(denoise, init_latents, mask)
        elif sampler in ("euler", "heun") and self.config.spacing != "leading":  # begin with σ ε, as in diffusers
            x = x * (1 - self.schedule.at(visited[0]).item()) ** 0.5
        as_in_diffusers: dict[str, Any] = {}
        if sampler == "ddim":
            final = 1.0 if self.config.set_alpha_to_one else self.schedule.alphas_cumprod[0].item()
            stride = len(self.schedule) // steps if self.config.spacing == "linspace" else None
            as_in_diffusers = {"final_alpha": final, "stride": stride}
        return sample(
            denoise,
            self.schedule,
            None,
            steps,
            sampler,
            spacing=self.config.spacing,
            offset=self.config.steps_offset,
            generator=generator,
            x=x,
            start=start,
            **as_in_diffusers,
        )

    def _predict(self, pictures: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The UNet on texts that were read before; guidance doubles the rows, which must not change the precision."""

        def predict(x: Tensor, t: Tensor, read: Tensor) -> Tensor:
            with self._autocast(pictures):
                return self.unet(x.to(self.dtype), t, read=read).float()

        return predict

    @torch.no_grad()
    def _read(self, prompts: list[str], pictures: int) -> Tensor:
        """What the UNet takes from the prompts, or of a single one for all pictures, (pictures, 77, R)."""
        context = self.embed(prompts)
        with self._autocast(pictures):
            return self.unet.read(context).expand(pictures, -1, -1)

    def _autocast(self, pictures: int) -> contextlib.AbstractContextManager[Any]:
        """Compute in `precision`; weights that are in half precision say themselves how."""
        if self.dtype != torch.float32:
            return contextlib.nullcontext()
        return autocast(self.precision, self.device, pictures)

    @torch.no_grad()
    def attention_by_word(self, prompt: str, **options: Any) -> tuple[Tensor, list[str], Tensor]:
        """Generate an image and record which positions attend to which word, averaged over steps, heads and layers.

        Only the coarsest layers with cross-attention count.

        Args:
            prompt: one prompt.
            **options: as for `images`.

        Returns:
            The image (3, 32, 32) in [-1, 1], the prompt's words (rare ones in pieces), and the weights of each word,
            (words, 4, 4) in [0, 1]. At each position, the rest up to 1 went to the start and end tokens.
        """
        maps = []
        here = threading.get_ident()

        def record(layer: Any, inputs: Any) -> None:
            if threading.get_ident() == here:  # another thread may be drawing with the same model
                # [-1]: with guidance, the prompt's half comes last; mean over heads: (16, 77)
                maps.append(layer.attention_map(*inputs)[-1].mean(0))

        hooks = [layer.register_forward_pre_hook(record) for layer in self.unet.cross_attentions]
        try:
            image = self.images([prompt], **options)[0]
        finally:
            for hook in hooks:
                hook.remove()
        positions = min(len(weights) for weights in maps)
        weights = torch.stack([weights for weights in maps if len(weights) == positions]).mean(0)
        pieces = clip_tokenizer().encode(prompt).tokens[: weights.shape[1] - 2]
        words = [piece.removesuffix("</w>") for piece in pieces]
        return image, words, weights[:, 1 : 1 + len(words)].T.unflatten(1, (round(positions**0.5), -1))

    def _warn(self, prompts: list[str], negative_prompt: str) -> None:
        """Say in one line for each prompt what in it cannot be drawn.

        A text encoder that was trained on all words, as Stable Diffusion's is, is not bound by what our captions say.
        """
        if self.text_encoder.table[UNKNOWN].any():
            return
        texts = list(dict.fromkeys(prompts))
        unknown = set(self.text_encoder.unknown_words("\n".join([*texts, negative_prompt])))
        several = len(texts) > 1
        for prompt in texts:
            _say(f"{shorten(prompt)!r}: " * several, [*unmet(prompt), *_without_effect(prompt, unknown)])
        _say("negative prompt: ", _without_effect(negative_prompt, unknown))

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """The prompts as the UNet reads them, (B, 77, dim)."""
        with self._autocast(len(prompts)):
            return self.text_encoder(tokenize(prompts).to(self.device)).to(self.dtype)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) in [-1, 1] to latents (B, 4, 8, 8), deterministically."""
        with self._autocast(len(images)):
            return self.vae.encode(images.to(self.device, self.dtype), sample=False).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, 8, 8) to images (B, 3, 32, 32) in [-1, 1]."""
        parts = latents.to(self.device, self.dtype).split(self.batch)  # large images one by one, to save memory
        with self._autocast(len(latents)):
            return torch.cat([self.vae.decode(part).float().clamp(-1, 1) for part in parts])


def _texts(prompts: str | Iterable[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if isinstance(prompts, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError("prompts must be a string or a list of at least one string")
    return [_whole(text) for text in texts]


def _negative(prompt: str) -> str:
    if not isinstance(prompt, str):
        raise UserError(f"the negative prompt must be a string, not {prompt!r}")
    return _whole(prompt)


def _say(name: str, clauses: list[str]) -> None:
    if clauses:
        warnings.warn(name + "; ".join(clauses), PromptWarning, stacklevel=4)


def _without_effect(prompt: str, unknown: set[str]) -> list[str]:
    """Words never seen in training, and what misspelt ones may mean."""
    words = list(dict.fromkeys(words_of(prompt)))
    unseen = ", ".join(word for word in words if word in unknown and not is_explained(word))
    clauses = [f"no effect: {shorten(unseen, 200)} (never seen in training)"] if unseen else []
    slips = [word for word in words if near_miss(word) and (word in SLIPS or _is_rare(word))][:5]
    return clauses + [f"did you mean {near_miss(word)}? ({word} is used as typed)" for word in slips]


@lru_cache(10_000)
def _is_rare(word: str) -> bool:
    """Whether CLIP's vocabulary, which has a token for each common word of English, has none for this one."""
    return int((tokenize(word) != END).sum()) > 2


def _whole(text: str) -> str:
    if half := re.search("[\ud800-\udfff]", text):
        raise UserError(f"the prompt {shorten(text)!r} has half a character, {half[0]!a}; type that one anew")
    return text

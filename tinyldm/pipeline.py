"""From prompt to image: text -> (sampler <-> UNet, guidance) -> autoencoder.decode -> image.

Design choices
- The pipeline has no mathematics of its own: it only passes each part's result to the next, in the order above.
- Latents are never clipped: only pixels are bounded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm import UserError
from tinyldm.devices import best_device, device_of, pictures_per_batch, seeded_generator
from tinyldm.diffusion import DiffusionConfig, DiffusionModel
from tinyldm.guidance import guide, keep_known
from tinyldm.images import ImageLike, image_and_mask, to_pil
from tinyldm.samplers import SampleStep, denoiser, sample, timesteps
from tinyldm.text import PromptWarning, TextEncoder, clip_tokenizer, tokenize
from tinyldm.unet import TransformerBlock, UNet
from tinyldm.vae import VAE

MAX_GUIDANCE = 30.0


class TextToImage:
    """Give it a prompt and it returns an image.

    >>> pipeline = TextToImage.from_pretrained()
    >>> pipeline("a thick red seven leaning left", seed=0).save("seven.png")
    """

    def __init__(self, vae: VAE, text_encoder: TextEncoder, unet: UNet, config: DiffusionConfig):
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
        self.schedule = config.schedule()

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, device: str | torch.device | None = None) -> TextToImage:
        """The shipped model, or the one in ``folder``, on ``device`` (default: a GPU if there is one).

        Raises:
            WeightsError: if a file is missing, damaged, or does not match its settings.
        """
        vae = VAE.from_pretrained(folder)
        model = DiffusionModel.from_pretrained("unet", folder)
        text_encoder = TextEncoder.from_pretrained(folder)
        return cls(vae, text_encoder, model.unet, model.config).to(device or best_device())

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
        """The precision of the networks; everything between them is float32."""
        return next(self.unet.parameters()).dtype

    @property
    def batch(self) -> int:
        """How many images are generated at once: 64 of ours (1,024 on a GPU), one of Stable Diffusion's."""
        size = self.config.sample_size
        return pictures_per_batch(self.device) if size <= 8 else max(1, 64 * 8**2 // size**2)

    def __call__(self, prompts: str | Sequence[str], *, seed: int | None = None, **options: Any) -> Any:
        """Generate an image for each prompt.

        Args:
            prompts: one prompt or several; an empty one leaves everything to chance.
            seed: the same seed gives the same images on the same machine; None gives different ones each time.
            **options: as for `stream`.

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
            image: a PIL image or file of any size and kind; an array, uint8 (H, W, 3); a tensor (3, H, W) in [-1, 1].
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
            mask: like ``image`` and of the same size, or a tensor (H, W) of 0 and 1; white is redrawn, black stays.
            image, prompts, strength, **options: as for `image_to_image`.

        Raises:
            UserError: as for `image_to_image`, or if image and mask have different sizes.
        """
        return self(prompts, image=image, mask=mask, strength=strength, **options)

    def images(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | None = None,
        progress: bool = False,
        image: ImageLike | None = None,
        mask: ImageLike | None = None,
        **options: Any,
    ) -> Tensor:
        """Like calling, but returns a tensor (B, 3, 32, 32) in [-1, 1]. ``progress`` shows a bar over the batches."""
        from tqdm.auto import tqdm

        prompts = _texts(prompts)
        generator = seeded_generator(seed, self.device)
        if image is None and (mask is not None or "strength" in options):
            raise UserError("mask and strength need image, the picture to start from")
        given = redrawn = None
        if image is not None:
            given, redrawn = image_and_mask(image, mask, self.config.sample_size * self.vae.config.downsampling)
            options["init_latents"] = self.encode(given)
            if redrawn is not None:  # a latent is redrawn if any of its pixels is
                options["mask"] = F.max_pool2d(redrawn, self.vae.config.downsampling).to(self.device)
        parts = []
        firsts = range(0, len(prompts), self.batch)
        for first in tqdm(firsts, desc=f"batches of {self.batch}", disable=not progress or len(firsts) == 1):
            for step in self.stream(prompts[first : first + self.batch], generator=generator, **options):
                latents = step.x
            parts.append(self.decode(latents))
        drawn = torch.cat(parts)
        if given is None or redrawn is None:
            return drawn
        return torch.where(redrawn.to(drawn) > 0, drawn, given.to(drawn))

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
    ) -> Iterator[SampleStep]:
        """Generate one batch and yield every step: ``step.x0`` estimates the latents, `decode` makes images of them.

        Args:
            prompts: one per image.
            negative_prompt: what to avoid; guidance leads away from it instead of from the empty prompt.
            num_inference_steps: steps of the sampler, 1 to 1000.
            guidance_scale: from 0 (ignore the prompt) through 1 (follow it) to 30; see `guide`.
            sampler: "ddpm", "ddim", "dpm++", "euler" or "heun".
            generator: source of the initial noise and of all later noise; None creates a new one.
            init_latents: latents of an image to start from, (1, 4, 8, 8).
            mask: 1 where ``init_latents`` are to be redrawn, 0 where they stay, (1, 1, 8, 8).
            strength: how far ``init_latents`` are noised, in [0, 1]; see `image_to_image`.

        Raises:
            UserError: if there are no prompts or an option is out of range.
        """
        prompts = _texts(prompts)
        if not isinstance(negative_prompt, str):
            raise UserError(f"the negative prompt must be a string, not {negative_prompt!r}")
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        if not (math.isfinite(scale) and 0 <= scale <= MAX_GUIDANCE):
            raise UserError(f"guidance must be between 0 and {MAX_GUIDANCE:g}, not {scale}")
        negative = self.embed([negative_prompt]).expand(len(prompts), -1, -1)
        below = len(self.schedule) if negative_prompt else self.config.guidance_below  # avoid it from the first step
        predict = guide(self._predict, self.embed(prompts), negative, scale, below, self.config.guidance_rescale)
        generator = generator or seeded_generator(None, self.device)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        shape = (len(prompts), self.vae.config.latent_channels, self.config.sample_size, self.config.sample_size)
        x = torch.randn(shape, generator=generator, device=generator.device).to(self.device)
        denoise, start = denoiser(predict, self.schedule, self.config.prediction_type), 0
        if init_latents is not None:
            if not 0 <= strength <= 1:
                raise UserError(f"strength must be between 0 and 1, not {strength}")
            init_latents = init_latents.expand(shape)
            visited = timesteps(self.schedule, steps, self.config.spacing, self.config.steps_offset)
            start = steps - round(strength * steps)
            if start == steps:
                return iter([SampleStep(0, 0, init_latents, init_latents)])  # no noise, nothing to remove
            x = self.schedule.add_noise(init_latents, x, visited[start])  # exactly where the sampler begins
            if mask is not None:
                denoise = keep_known(denoise, init_latents, mask)
        sampler = self.config.sampler if sampler is None else sampler
        short = sampler == "ddim" and not self.config.set_alpha_to_one  # its last step ends on t = 0, with some noise
        final = {"final_alpha": self.schedule.alphas_cumprod[0].item()} if short else {}
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
            **final,
        )

    def _predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.unet(x.to(self.dtype), t, context).float()

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
        blocks = [block for block in self.unet.modules() if isinstance(block, TransformerBlock)]
        layers = [block.attn2 for block in blocks if block.attn2 is not None]
        hooks = [
            layer.register_forward_pre_hook(lambda layer, inputs: maps.append(layer.attention_map(*inputs)[-1].mean(0)))
            for layer in layers  # [-1]: with guidance, the prompt's half comes last; mean over heads: (16, 77)
        ]
        try:
            image = self.images([prompt], **options)[0]
        finally:
            for hook in hooks:
                hook.remove()
        positions = min(len(weights) for weights in maps)
        weights = torch.stack([weights for weights in maps if len(weights) == positions]).mean(0)
        words = [piece.removesuffix("</w>") for piece in clip_tokenizer().tokenize(prompt)][: weights.shape[1] - 2]
        return image, words, weights[:, 1 : 1 + len(words)].T.unflatten(1, (round(positions**0.5), -1))

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """The prompts as the UNet reads them, (B, 77, dim); warns about words never seen in training."""
        unknown = dict.fromkeys(word for prompt in prompts for word in self.text_encoder.unknown_words(prompt))
        if unknown:
            warnings.warn(f"no effect: {', '.join(unknown)} (never seen in training)", PromptWarning, stacklevel=3)
        return self.text_encoder(tokenize(prompts).to(self.device))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) in [-1, 1] to latents (B, 4, 8, 8), deterministically."""
        return self.vae.encode(images.to(self.device, self.dtype), sample=False).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, 8, 8) to images (B, 3, 32, 32) in [-1, 1]."""
        parts = latents.to(self.device, self.dtype).split(self.batch)  # large images one by one, to save memory
        return torch.cat([self.vae.decode(part).float().clamp(-1, 1) for part in parts])


def _texts(prompts: str | Iterable[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if isinstance(prompts, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError("prompts must be a string or a list of at least one string")
    return texts

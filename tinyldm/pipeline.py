"""Prompt to picture: text -> (sampler <-> UNet, guidance) -> autoencoder.decode -> image.

Design choices
- The pipeline owns no mathematics: it only passes one part's result to the next, in the order of the sentence above.
- What a model was trained with (schedule, prediction type) and is best sampled with stands in its weights file.
- Latents are never clipped: only pixels have an end.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm.autoencoder import VAE
from tinyldm.samplers import SAMPLERS, Denoiser, SampleStep, denoiser, sample, timesteps
from tinyldm.schedule import KINDS, PREDICTION_TYPES, NoiseSchedule
from tinyldm.text import PromptWarning, TextEncoder, clip_tokenizer, tokenize
from tinyldm.training import best_device
from tinyldm.unet import TransformerBlock, UNet, UNetConfig
from tinyldm.weights import load_into

MAX_GUIDANCE = 30.0


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of a diffusion model: its UNet, its noise schedule, and how it is sampled unless told otherwise.

    The defaults are the latent model's. Its schedule is Stable Diffusion's, changed to end in pure noise (Lin et al.
    2023); that needs v-prediction. ``sample_size`` is the height and width of what the UNet denoises;
    ``guidance_below`` and ``guidance_rescale`` are explained in `guide`. The last two are details of Stable Diffusion
    1.x's sampling, in diffusers' words: see ``offset`` in `samplers.timesteps` and ``final_alpha`` in `samplers.ddim`.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    sample_size: int = 8
    schedule_kind: str = "scaled_linear"
    zero_terminal_snr: bool = True
    prediction_type: str = "v_prediction"
    sampler: str = "dpm++"
    spacing: str = "trailing"
    num_inference_steps: int = 12
    guidance_scale: float = 3.0
    guidance_below: int = 800
    guidance_rescale: float = 1.0
    steps_offset: int = 0
    set_alpha_to_one: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.unet, dict):  # as it comes out of a file
            object.__setattr__(self, "unet", UNetConfig(**self.unet))
        choices = {"schedule_kind": KINDS, "prediction_type": PREDICTION_TYPES, "sampler": SAMPLERS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")

    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the UNet is trained and sampled with."""
        schedule = NoiseSchedule.create(self.schedule_kind)
        return schedule.rescale_zero_terminal_snr() if self.zero_terminal_snr else schedule


class DiffusionModel(UNet):
    """A UNet with the settings of its whole model, as ``settings``."""

    def __init__(self, config: DiffusionConfig):
        super().__init__(config.unet)
        self.settings = config

    @classmethod
    def from_pretrained(cls, name: str = "unet", folder=None) -> DiffusionModel:
        """The shipped "unet" (latents, with text) or "pixel" (pixels, without), or one from ``folder``.

        Raises:
            WeightsError: the file is missing, damaged, or does not match its settings.
        """
        return load_into(cls, DiffusionConfig, name, folder)

    def images(
        self, n: int, *, seed: int = 0, steps: int | None = None, sampler: str | None = None, progress: bool = False
    ) -> Tensor:
        """``n`` pictures of a model of pixels without text: (n, C, H, W) in [-1, 1]; options as in `sample`."""
        from tqdm.auto import tqdm

        config, schedule, device = self.settings, self.settings.schedule(), next(self.parameters()).device
        denoise = denoiser(self, schedule, config.prediction_type, clip=1)
        generator, parts = _generator(seed, device), []
        options = {"steps": steps or config.num_inference_steps, "sampler": sampler or config.sampler}
        batch = _side_by_side(device)
        for first in tqdm(range(0, n, batch), desc=f"batches of {batch}", disable=not progress):
            shape = (min(batch, n - first), self.config.in_channels, config.sample_size, config.sample_size)
            for step in sample(denoise, schedule, shape, spacing=config.spacing, generator=generator, **options):
                last = step
            parts.append(last.x.clamp(-1, 1))
        return torch.cat(parts)


def guide(
    model, context: Tensor, negative: Tensor, guidance_scale: float, below: int = 1000, rescale: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): go further in the direction in which the prompt points.

    prediction = negative + guidance_scale * (prompt - negative)

    0 ignores the prompt, 1 follows it plainly (and saves half of the work), more exaggerates it. At steps of much
    noise exaggeration makes all pictures alike and strokes fat, so it may be left to those ``below`` a step
    (Kynkäänniemi et al. 2024); the others follow the prompt plainly. Exaggeration also makes predictions too large,
    which burns colours and fattens strokes; ``rescale`` takes that back (Lin et al. 2023, eq. 15 and 16):

    prediction *= rescale * std(prompt) / std(prediction) + 1 - rescale

    Args:
        model: ``model(x, t, context)`` predicts noise or v.
        context: embedded prompts, (B, 77, dim).
        negative: embedded empty or negative prompts, (B, 77, dim).
        guidance_scale: >= 0.
        below: guide at steps t < below.
        rescale: from 0, predictions stay as they are, to 1, each gets the standard deviation of the plain one.

    Returns:
        ``predict(x, t)`` for `samplers.denoiser`, t the same for all rows; both predictions come from one call with a
        batch of 2 B.
    """
    if guidance_scale in (0, 1):
        only = context if guidance_scale == 1 else negative
        return lambda x, t: model(x, t, only)
    both = torch.cat([negative, context])

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if t[0] >= below:
            return model(x, t, context)
        away, towards = model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        guided = away + guidance_scale * (towards - away)
        if rescale == 0:
            return guided
        plain, large = (prediction.std((1, 2, 3), keepdim=True) for prediction in (towards, guided))
        return guided * (rescale * plain / large + 1 - rescale)

    return predict


def keep_known(denoise: Denoiser, known: Tensor, mask: Tensor) -> Denoiser:
    """Inpainting: a denoiser that is told the truth where the mask is 0.

    Args:
        denoise: ``denoise(x_t, t) -> x0``.
        known: the truth, of the shape of x0.
        mask: 1 where the denoiser's own guess counts; its shape must broadcast.
    """
    return lambda x, t: mask * denoise(x, t) + (1 - mask) * known


class TextToImage:
    """Give it a prompt, it returns a picture.

    >>> pipeline = TextToImage.from_pretrained()
    >>> pipeline("a thick red seven leaning left", seed=0).save("seven.png")
    """

    def __init__(self, vae: VAE, text_encoder: TextEncoder, unet: UNet, config: DiffusionConfig):
        if unet.config.context_dim != text_encoder.config.hidden_size:
            raise ValueError(
                f"the UNet reads embeddings of width {unet.config.context_dim}, "
                f"but the text encoder writes {text_encoder.config.hidden_size}"
            )
        if unet.config.in_channels != vae.config.latent_channels:
            raise ValueError(
                f"the UNet works on {unet.config.in_channels} latent channels, "
                f"but the autoencoder has {vae.config.latent_channels}"
            )
        self.vae, self.text_encoder, self.unet, self.config = vae, text_encoder, unet, config
        self.schedule = config.schedule()

    @classmethod
    def from_pretrained(cls, folder=None, device: str | torch.device | None = None) -> TextToImage:
        """The shipped model, or the one in ``folder``, on ``device`` (default: a GPU if there is one).

        Raises:
            WeightsError: a file is missing, damaged, or does not match its settings.
        """
        vae = VAE.from_pretrained(folder)
        unet = DiffusionModel.from_pretrained("unet", folder)
        text_encoder = TextEncoder.from_pretrained(folder)
        return cls(vae, text_encoder, unet, unet.settings).to(device or best_device())

    def to(self, device: str | torch.device) -> TextToImage:
        """Move all parts to a device."""
        for part in (self.vae, self.text_encoder, self.unet):
            part.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the UNet is, and so where everything happens."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the networks; what happens between them is float32."""
        return next(self.unet.parameters()).dtype

    @property
    def batch(self) -> int:
        """How many pictures are drawn side by side: 64 of ours (1,024 on a GPU), one of Stable Diffusion's."""
        size = self.config.sample_size
        return _side_by_side(self.device) if size <= 8 else max(1, 64 * 8**2 // size**2)

    def __call__(self, prompts: str | Sequence[str], *, seed: int | None = None, **options):
        """Draw a picture for each prompt.

        Args:
            prompts: one text, or many; an empty text leaves everything to chance.
            seed: the same seed gives the same pictures on the same machine; None gives others each time.
            **options: as for `stream`.

        Returns:
            A PIL image of 32x32 for one prompt, a list of them for many.
        """
        images = [to_pil(image) for image in self.images(prompts, seed=seed, **options)]
        return images[0] if isinstance(prompts, str) else images

    def image_to_image(self, image, prompts: str | Sequence[str], *, strength: float = 0.6, **options):
        """Draw a picture anew: encode it, noise it part of the way, denoise it under the prompt (Meng et al. 2022).

        Args:
            image: a PIL image or file of any size and kind; an array, uint8 (H, W, 3); a tensor (3, H, W) in [-1, 1].
            prompts: one text or many, each applied to the same picture.
            strength: from 0, the picture comes back as the autoencoder sees it, to 1, it no longer matters.
            **options: as for calling.

        Raises:
            ValueError: the file is not a picture, the strength not in [0, 1], or an option out of range.
        """
        return self(prompts, image=image, strength=strength, **options)

    def inpaint(self, image, mask, prompts: str | Sequence[str], *, strength: float = 1.0, **options):
        """Draw only a part of a picture anew; the rest stays as it is, to the pixel.

        Args:
            mask: as ``image`` and of the same size, or a tensor (H, W) of 0 and 1; white is drawn anew, black stays.
            image, prompts, strength, **options: as for `image_to_image`.

        Raises:
            ValueError: as for `image_to_image`, or picture and mask have different sizes.
        """
        return self(prompts, image=image, mask=mask, strength=strength, **options)

    def images(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | None = None,
        progress: bool = False,
        image=None,
        mask=None,
        **options,
    ) -> Tensor:
        """As calling, but a tensor: (B, 3, 32, 32) in [-1, 1]. ``progress`` draws a bar for many batches."""
        from tqdm.auto import tqdm

        prompts = _texts(prompts)
        generator = _generator(seed, self.device)
        if image is None and (mask is not None or "strength" in options):
            raise ValueError("mask and strength need image, the picture to start from")
        if image is not None:
            image, mask = _image_and_mask(image, mask, self.config.sample_size * self.vae.config.downsampling)
            options["known"] = self.encode(image)
            if mask is not None:  # a latent is drawn anew if any of its pixels is
                options["mask"] = F.max_pool2d(mask, self.vae.config.downsampling).to(self.device)
        parts = []
        firsts = range(0, len(prompts), self.batch)
        for first in tqdm(firsts, desc=f"batches of {self.batch}", disable=not progress or len(firsts) == 1):
            for step in self.stream(prompts[first : first + self.batch], generator=generator, **options):
                latents = step.x
            parts.append(self.decode(latents))
        drawn = torch.cat(parts)
        return drawn if mask is None else torch.where(mask.to(drawn) > 0, drawn, image.to(drawn))

    def stream(
        self,
        prompts: str | Sequence[str],
        *,
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        generator: torch.Generator | None = None,
        known: Tensor | None = None,
        mask: Tensor | None = None,
        strength: float = 1.0,
    ) -> Iterator[SampleStep]:
        """Draw one batch and yield every step: ``step.x0`` is the latents' estimate, `decode` makes pictures of it.

        Args:
            prompts: texts, one per picture.
            negative_prompt: what the pictures should get away from, instead of away from no prompt.
            num_inference_steps: steps of the sampler, 1 to 1000.
            guidance_scale: 0 (no prompt) over 1 (the prompt, plainly) to 30; see `guide`.
            sampler: "ddpm", "ddim", "dpm++", "euler" or "heun".
            generator: of the first noise and of all later noise; None takes a new one.
            known: latents of a picture to start from, (1, 4, 8, 8).
            mask: where ``known`` is to be drawn anew (1) and where it stays (0), (1, 1, 8, 8).
            strength: how far ``known`` is noised, in [0, 1]; see `image_to_image`.

        Raises:
            ValueError: no prompts, or an option out of range.
        """
        prompts = _texts(prompts)
        if not isinstance(negative_prompt, str):
            raise ValueError(f"the negative prompt must be a text, not {negative_prompt!r}")
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        if not (math.isfinite(scale) and 0 <= scale <= MAX_GUIDANCE):
            raise ValueError(f"guidance must be between 0 and {MAX_GUIDANCE:g}, not {scale}")
        negative = self.embed([negative_prompt]).expand(len(prompts), -1, -1)
        below = len(self.schedule) if negative_prompt else self.config.guidance_below  # what to avoid, from the start
        predict = guide(self._predict, self.embed(prompts), negative, scale, below, self.config.guidance_rescale)
        generator = generator or _generator(None, self.device)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        shape = (len(prompts), self.vae.config.latent_channels, self.config.sample_size, self.config.sample_size)
        x = torch.randn(shape, generator=generator, device=generator.device).to(self.device)
        denoise, start = denoiser(predict, self.schedule, self.config.prediction_type), 0
        if known is not None:
            if not 0 <= strength <= 1:
                raise ValueError(f"strength must be between 0 and 1, not {strength}")
            known = known.expand(shape)
            visited = timesteps(self.schedule, steps, self.config.spacing, self.config.steps_offset)
            start = steps - round(strength * steps)
            if start == steps:
                return iter([SampleStep(0, 0, known, known)])  # no noise, nothing to take away
            x = self.schedule.add_noise(known, x, visited[start])  # where the sampler begins, no other step
            if mask is not None:
                denoise = keep_known(denoise, known, mask)
        sampler = self.config.sampler if sampler is None else sampler
        short = sampler == "ddim" and not self.config.set_alpha_to_one  # its last step ends on t = 0, with some noise
        return sample(
            denoise,
            self.schedule,
            steps=steps,
            sampler=sampler,
            spacing=self.config.spacing,
            offset=self.config.steps_offset,
            generator=generator,
            x=x,
            start=start,
            **({"final_alpha": self.schedule.alphas_cumprod[0].item()} if short else {}),
        )

    def _predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.unet(x.to(self.dtype), t, context).float()

    @torch.no_grad()
    def attention_by_word(self, prompt: str, **options) -> tuple[Tensor, list[str], Tensor]:
        """Draw a picture and note which places look at which word: the mean over steps, heads and coarsest layers.

        Args:
            prompt: one text.
            **options: as for `images`.

        Returns:
            The picture (3, 32, 32) in [-1, 1], the prompt's words (rare ones in pieces), and for each its weights,
            (words, 4, 4) in [0, 1]. What a place's weights lack to 1, it gave to the tokens start and end.
        """
        maps = []
        layers = [block.attn2 for block in self.unet.modules() if isinstance(block, TransformerBlock)]
        hooks = [
            layer.register_forward_pre_hook(lambda layer, inputs: maps.append(layer.attention_map(*inputs)[-1].mean(0)))
            for layer in layers  # [-1]: with guidance, the prompt's half comes last; mean over heads: (16, 77)
        ]
        try:
            image = self.images([prompt], **options)[0]
        finally:
            for hook in hooks:
                hook.remove()
        places = min(len(weights) for weights in maps)
        weights = torch.stack([weights for weights in maps if len(weights) == places]).mean(0)
        words = [piece.removesuffix("</w>") for piece in clip_tokenizer().tokenize(prompt)][: weights.shape[1] - 2]
        return image, words, weights[:, 1 : 1 + len(words)].T.unflatten(1, (round(places**0.5), -1))

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """What the UNet reads of the prompts, (B, 77, dim); warns of words that training never saw."""
        unknown = dict.fromkeys(word for prompt in prompts for word in self.text_encoder.unknown_words(prompt))
        if unknown:
            warnings.warn(f"no effect: {', '.join(unknown)} (never seen in training)", PromptWarning, stacklevel=3)
        return self.text_encoder(tokenize(prompts).to(self.device))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, 32, 32) in [-1, 1] to latents (B, 4, 8, 8), without chance."""
        return self.vae.encode(images.to(self.device, self.dtype), sample=False).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, 8, 8) to pictures (B, 3, 32, 32) in [-1, 1]."""
        parts = latents.to(self.device, self.dtype).split(self.batch)  # large pictures one by one, to need less memory
        return torch.cat([self.vae.decode(part).float().clamp(-1, 1) for part in parts])


def _texts(prompts: str | Iterable[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if isinstance(prompts, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("prompts must be one text or a list of at least one text")
    return texts


def _side_by_side(device: torch.device) -> int:
    """How many small pictures are drawn in one batch; few would leave a GPU idle."""
    return 64 if device.type == "cpu" else 1024


def _generator(seed: int | None, device: torch.device) -> torch.Generator:
    if seed is not None and not 0 <= seed < 2**63:
        raise ValueError(f"seed must be between 0 and 2^63 - 1, not {seed}")
    generator = torch.Generator(device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    return generator


def _image_and_mask(image, mask, size: int) -> tuple[Tensor, Tensor | None]:
    """A picture (1, 3, size, size) in [-1, 1], and where to draw it anew, (1, 1, size, size) of 0 and 1."""
    if isinstance(mask, np.ndarray) and mask.size and mask.max() <= 1:  # 0 and 1; PIL would read 1 as nearly black
        mask = torch.from_numpy(mask.astype(np.float32))
    image, mask = _open(image), None if mask is None else _open(mask * 2.0 - 1 if isinstance(mask, Tensor) else mask)
    if mask is not None and mask.size != image.size:
        sizes = [f"{width}x{height}" for width, height in (image.size, mask.size)]
        raise ValueError(f"picture and mask must have the same size, not {' and '.join(sizes)}")
    return _to_tensor(image, size), None if mask is None else (_to_tensor(mask, size)[:, :1] > 0).float()


def _open(image):
    """A PIL image in RGB from one of any mode, a file, an array or a tensor; what is transparent becomes white."""
    from PIL import Image, ImageOps

    if isinstance(image, Tensor):
        shape = image.shape[1:] if image.ndim == 4 and len(image) == 1 else image.shape
        if not image.is_floating_point() or len(shape) not in (2, 3) or shape[:-2] not in ((), (1,), (3,)):
            told = f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
            raise ValueError(f"a picture as a tensor must be floats (3, H, W) in [-1, 1], not {told}")
        image = to_pil(image.clamp(-1, 1).expand(1, 3, *shape[-2:])[0])
    else:
        name = image if isinstance(image, str | Path) else f"what is given ({type(image).__name__})"
        try:
            if not isinstance(image, Image.Image):
                image = Image.fromarray(image) if hasattr(image, "__array_interface__") else Image.open(image)
            image.load()
            image = ImageOps.exif_transpose(image)  # a phone notes how it was held
            if image.mode.startswith("I") and (image.mode != "I" or image.getextrema()[1] > 255):
                image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")  # 16 bits to 8
            image = image.convert("RGBA")
        except (OSError, SyntaxError, TypeError, ValueError, AttributeError, Image.DecompressionBombError) as error:
            raise ValueError(f"{name} is not a picture that can be read ({error})") from error
    if 0 in image.size:
        raise ValueError("the picture is empty")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def _to_tensor(image, size: int) -> Tensor:
    """A PIL image as (1, 3, size, size) in [-1, 1]; one that is not square gets edges of the colour of its corner."""
    from PIL import ImageOps

    image = ImageOps.pad(image, (size, size), color=image.getpixel((0, 0)))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size, 3)
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


def to_pil(image: Tensor):
    """A picture (3, H, W) in [-1, 1] as a PIL image."""
    from PIL import Image

    return Image.fromarray(((image + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())

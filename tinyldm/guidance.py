"""Guidance and inpainting: predictors and denoisers built from others.

Design choices
- `guide` combines two predictions, `keep_known` an estimate and the true image. Samplers know about neither.

Ho & Salimans 2022 (guidance); Lin et al. 2023 and Kynkäänniemi et al. 2024 (where and how far it helps).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tinyldm.samplers import Denoiser


def guide(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    context: Tensor,
    negative: Tensor,
    guidance_scale: float,
    below: int = 1000,
    rescale: float = 0.0,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): go further in the direction in which the prompt points.

    prediction = negative + guidance_scale * (prompt - negative)

    A scale of 0 ignores the prompt, 1 follows it (both take half the work), more exaggerates it. At very noisy steps,
    exaggeration makes all images alike and strokes fat, so it can be limited to the steps ``below`` a given one
    (Kynkäänniemi et al. 2024); at the others the scale is 1. Exaggeration also makes predictions too large, which
    oversaturates colours and fattens strokes; ``rescale`` corrects that (Lin et al. 2023, eq. 15 and 16). A scale up
    to 1 exaggerates nothing, so that neither applies to it.

    prediction *= rescale * std(prompt) / std(prediction) + 1 - rescale

    Args:
        model: ``model(x, t, context)`` predicts noise or v.
        context: embedded prompts, (B, 77, dim).
        negative: embedded empty or negative prompts, (B, 77, dim).
        guidance_scale: >= 0; the prediction is continuous in it.
        below: guide at steps t < below.
        rescale: from 0 (predictions stay as they are) to 1 (each gets the standard deviation of the prompt's own).

    Returns:
        ``predict(x, t)`` for `samplers.denoiser`, with the same t for the whole batch; both predictions come from one
        call with a batch of 2 B.
    """
    if guidance_scale in (0, 1):
        only = context if guidance_scale == 1 else negative
        return lambda x, t: model(x, t, only)
    both = torch.cat([negative, context])
    exaggerates = guidance_scale > 1

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if exaggerates and t[0] >= below:
            return model(x, t, context)
        uncond, cond = model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        guided = uncond + guidance_scale * (cond - uncond)
        if not exaggerates or rescale == 0:
            return guided
        std_cond, std_guided = (prediction.std((1, 2, 3), keepdim=True) for prediction in (cond, guided))
        return guided * (rescale * std_cond / std_guided + 1 - rescale)

    return predict


def keep_known(denoise: Denoiser, known: Tensor, mask: Tensor) -> Denoiser:
    """Inpainting: a denoiser that is given the true image where the mask is 0.

    Args:
        denoise: ``denoise(x_t, t) -> x0``.
        known: the true image or latents, of the same shape as x0.
        mask: 1 where the denoiser's own estimate counts; its shape must broadcast.
    """
    return lambda x, t: mask * denoise(x, t) + (1 - mask) * known

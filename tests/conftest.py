"""What all tests share, and what several of them need: a tiny pipeline, and rows of captioned MNIST."""

import pytest
import torch
from torch import nn

from tinyldm import data
from tinyldm.data import CaptionedMNIST
from tinyldm.diffusion import DiffusionConfig
from tinyldm.pipeline import TextToImage
from tinyldm.text import TextConfig, TextEncoder, tokenize
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig

TEXT = TextConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)
UNET = UNetConfig(block_out_channels=(8, 16), attention=(False, True), num_heads=2, context_dim=16, norm_num_groups=4)
AUTOENCODER = VAEConfig(block_out_channels=(8, 8, 16), norm_num_groups=4, scaling_factor=0.25)
CONFIG = DiffusionConfig(UNET, guidance_below=1000, guidance_rescale=0, num_inference_steps=4, guidance_scale=3.0)
WORDS = "a thick thin red blue white seven two 7 leaning left on paper"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Models this small spend longer on handing work to threads than on the work."""
    torch.set_num_threads(1)


def perturb(model: nn.Module, amount: float = 0.05) -> nn.Module:
    """Move every parameter a little, so that none is zero (a branch) or one (a norm) and hides what it does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return model.eval()


# --- a tiny pipeline ----------------------------------------------------------------------------------------------


@pytest.fixture
def pipeline() -> TextToImage:
    """All parts of the machine, very small, with random weights; its text encoder knows `WORDS`."""

    def noise(*shape: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    text, vae, unet = TextEncoder(TEXT), VAE(AUTOENCODER), UNet(UNET)
    for part in (text, vae, unet):
        part.eval().requires_grad_(False)
        for name, parameter in part.named_parameters():  # so that no branch is zero and every input has a say
            if not name.endswith("token_embedding.weight"):
                parameter.add_(0.2 * noise(*parameter.shape, seed=len(name)))
    known = tokenize([WORDS]).unique()
    text.table[known] = noise(len(known), 16)
    return TextToImage(vae, text, unet, CONFIG)


@pytest.fixture
def calls(pipeline):
    """Every call of the pipeline's UNet: (x, t)."""
    seen = []
    pipeline.unet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments))
    return seen


def context_of(pipeline: TextToImage, *prompts: str) -> torch.Tensor:
    return pipeline.text_encoder(tokenize(list(prompts)))


# --- captioned MNIST ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rows():
    return CaptionedMNIST("test", seed=0, limit=1000)


@pytest.fixture(scope="session")
def many_rows():
    """All 10,000 test digits, twice; thickness, which takes long and means nothing here, is drawn by lot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "stroke_thickness", lambda coverage: 1.5 + 3 * torch.rand(len(coverage)))
        return CaptionedMNIST("test", seed=0, copies=2)

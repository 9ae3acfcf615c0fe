"""tinyldm: a text-to-image latent diffusion model, built from nothing, on MNIST."""

__version__ = "0.1.0"

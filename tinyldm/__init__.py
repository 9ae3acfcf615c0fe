"""tinyldm: a text-to-image latent diffusion model, built from nothing, on MNIST."""

__version__ = "0.2.0"


class UserError(ValueError):
    """Something that a user gave or has cannot be used; one line says what is wrong, where, and what to do.

    The command line prints that line and exits with ``exit_code``. Any other exception is a bug: a traceback.
    """

    exit_code = 2


class TinyldmWarning(UserWarning):
    """Something that its user would want to know; the command line prints it as one line."""

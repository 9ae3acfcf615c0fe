"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Models this small spend longer on handing work to threads than on the work."""
    torch.set_num_threads(1)

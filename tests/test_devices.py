"""What the machine has decides the precision, the batches and how long things run."""

import pytest
import torch
from torch import nn

from tinyldm import UserError
from tinyldm.devices import best_device, best_precision, budget, device_of, pictures_per_batch, seeded_generator


@pytest.mark.parametrize(
    "cuda, gpu_bf16, cpu_bf16, expected",
    [
        (True, True, False, "bf16"),
        (True, False, True, "fp16"),
        (False, False, True, "bf16"),
        (False, False, False, "no"),
    ],
    ids=["new GPU", "old GPU", "new CPU", "old CPU"],
)
def test_the_best_precision_is_what_the_hardware_multiplies(monkeypatch, cuda, gpu_bf16, cpu_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    said = {True: True, False: gpu_bf16}  # with emulation every GPU says yes, slow ones too
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: said[including_emulation])
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": cpu_bf16})
    assert best_precision() == expected


@pytest.mark.parametrize(("profile", "value"), [("fast", 1), ("cpu", 2), ("gpu", 3)])
def test_the_profile_decides_how_long_things_run(monkeypatch, profile, value):
    monkeypatch.setenv("TINYLDM_PROFILE", profile)
    assert budget(fast=1, cpu=2, gpu=3) == value


@pytest.mark.parametrize(("has_gpu", "value"), [(False, 2), (True, 3)])
def test_without_a_profile_the_hardware_decides(monkeypatch, has_gpu, value):
    monkeypatch.delenv("TINYLDM_PROFILE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert budget(fast=1, cpu=2, gpu=3) == value


def test_an_unknown_profile_is_named(monkeypatch):
    monkeypatch.setenv("TINYLDM_PROFILE", "slow")
    with pytest.raises(UserError, match="fast, cpu, gpu, not 'slow'"):
        budget(fast=1, cpu=2, gpu=3)


def test_a_module_is_where_its_parameters_are():
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 3))
    assert device_of(model) == torch.device("cpu")
    assert device_of(model.to("meta")) == torch.device("meta")


def test_a_gpu_gets_larger_batches():
    assert pictures_per_batch(torch.device("cuda")) > pictures_per_batch(torch.device("cpu")) > 1


def test_the_same_seed_draws_the_same_and_no_seed_something_else_each_time():
    def draw(seed):
        return torch.rand(4, generator=seeded_generator(seed, torch.device("cpu")))

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))
    assert not torch.equal(draw(None), draw(None))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_named(seed):
    with pytest.raises(UserError, match=f"not {seed}"):
        seeded_generator(seed, best_device())

"""A device that is none: it computes on the CPU, but keeps the rules of one.

Inside ``with pretend_gpu() as device:`` tensors and models can be moved to it. There, float64 is refused, as by Apple's
GPU, and so is an operation whose tensors are on two devices. PyTorch's own fake tensors have no values, which samplers
and measurements look at; these have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

GPU = torch.device("cuda", 0)
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
ALSO_BY_CPU = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}  # indices may be on the CPU


class OnDevice(torch.Tensor):
    """A tensor that says that it is on the device; its values are ``on_cpu``."""

    on_cpu: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "OnDevice":
        if values.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{values.dtype} on a device that has none")
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        tensor = torch.Tensor._make_wrapper_subclass(cls, values.shape, **layout, dtype=values.dtype, device=GPU)
        tensor.on_cpu = values
        return tensor

    def tolist(self) -> Any:
        """The values; PyTorch's own method refuses subclasses."""
        return self.on_cpu.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


class Factories(TorchDispatchMode):
    """Lets `run` see operations without a tensor on the device, too: those that make one, or move one there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: Any) -> Any:
    """Carry out one of PyTorch's operations as the device would."""
    given = [tensor for tensor in tree_iter((args, kwargs)) if isinstance(tensor, torch.Tensor)]
    here = [tensor for tensor in given if isinstance(tensor, OnDevice)]
    elsewhere = [tensor for tensor in given if tensor.ndim and not isinstance(tensor, OnDevice)]
    if here and elsewhere and function not in MOVES | ALSO_BY_CPU:
        raise RuntimeError(f"{function}: one tensor is on the device, another on the CPU")
    result_here = bool(here)
    if kwargs.get("device") is not None:
        result_here = torch.device(kwargs["device"]).type == GPU.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map_only(OnDevice, lambda tensor: tensor.on_cpu, (args, kwargs))
    result = function(*args, **kwargs)
    if function._schema.name.endswith("_"):  # in place
        return given[0]
    return tree_map_only(torch.Tensor, OnDevice, result) if result_here else result


@contextmanager
def pretend_gpu() -> Iterator[torch.device]:
    """Within, there is such a device."""
    torch._C._ensureCUDADeviceGuardSet()  # as PyTorch's fake tensors do; without it, indexing looks for a driver
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device) makes it on the CPU and then moves it
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # moved parameters are other objects
    with pytest.MonkeyPatch.context() as patch, torch.backends.cudnn.flags(enabled=False), Factories():
        if not torch.cuda.is_available():
            patch.setattr(torch.cuda, "_lazy_init", lambda: None)  # it looks for a driver, too
        try:
            yield GPU
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            torch.__future__.set_overwrite_module_params_on_conversion(False)

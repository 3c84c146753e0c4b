"""Where to compute and in which precision, and what to do when a GPU's memory does not suffice."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F

from ..errors import RegistrationError
from ..settings import DEVICES, PRECISIONS

Result = TypeVar("Result")

# Wrong or very slow half-precision 3-D convolutions on CUDA: pytorch issues 163539, 166122, 166643.
BAD_CUDA_RELEASES = ("2.9.0", "2.9.1")
# Of a convolution's output, relative to its spread: bfloat16's rounding gives 0.003, a broken kernel far more.
TRUSTED_ERROR = 0.02


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA where there is one, then MPS, then the CPU.

    Raises:
        RegistrationError: for a device this machine or this torch does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if name not in available:
        raise RegistrationError(f"device {name!r} is not known; choose one of {', '.join(DEVICES)}.")
    if not available[name]:
        raise RegistrationError(f"no {name} device was found by torch {torch.__version__}; choose device cpu or auto.")
    return torch.device(name)


def choose_precision(device: torch.device, name: str = "auto") -> torch.dtype:
    """The type of the convolutions' numbers; "auto" takes half precision where it is both right and faster.

    Raises:
        RegistrationError: for a type that would be wrong or pointless on this device.
    """
    if name not in PRECISIONS:
        raise RegistrationError(f"precision {name!r} is not known; choose one of {', '.join(PRECISIONS)}.")
    if name == "auto":
        return half_precision(device) or torch.float32
    if name != "float32" and device.type == "cuda" and _bad_cuda_release():
        raise RegistrationError(
            f"torch {torch.__version__} convolves wrongly in {name} on CUDA; choose precision float32 or another torch."
        )
    if name == "float16" and device.type == "cpu":
        raise RegistrationError("float16 is for GPUs; choose precision bfloat16, float32 or auto on the CPU.")
    return getattr(torch, name)


def half_precision(device: torch.device) -> torch.dtype | None:
    """The 16-bit type to convolve in on this device, or None where float32 is right or faster."""
    if device.type == "cpu":
        return torch.bfloat16 if _trusted(device, torch.bfloat16) else None
    if device.type == "cuda" and not _bad_cuda_release():
        return next((dtype for dtype in (torch.float16, torch.bfloat16) if _trusted(device, dtype)), None)
    return None


def _bad_cuda_release() -> bool:
    return torch.__version__.split("+")[0] in BAD_CUDA_RELEASES


@lru_cache
def _trusted(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions like the network's agree with float32 and, on a CPU, take less time."""
    generator = torch.Generator().manual_seed(0)
    for channels, options in ((18, {"padding": 1}), (16, {"stride": 2, "padding": 3, "dilation": 3})):
        x = torch.randn(1, channels, 32, 32, 32, generator=generator)
        weight = torch.randn(16, channels, 3, 3, 3, generator=generator) / (27 * channels) ** 0.5
        try:
            (exact, slow), (rough, quick) = _convolve(x, weight, options), _convolve(x, weight, options, device, dtype)
        except RuntimeError:
            return False
        # Written so that a NaN is not trusted.
        if not (rough - exact).square().mean().sqrt() <= TRUSTED_ERROR * exact.std():
            return False
        if device.type == "cpu" and quick > slow:
            return False
    return True


@torch.no_grad()
def _convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    options: dict[str, int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, float]:
    x = x.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        y = F.conv3d(x, weight, **options)
        seconds.append(time.perf_counter() - start)
    return y.float().cpu(), min(seconds)


def with_fallback(
    run: Callable[[torch.device, torch.dtype], Result],
    device: torch.device,
    dtype: torch.dtype,
    tell: Callable[[str], None],
) -> Result:
    """Run, and where a GPU's memory does not suffice, again in half precision and then on the CPU.

    Args:
        run: the work.
        device, dtype: where and how to try first.
        tell: given one sentence for every step down.

    Raises:
        RegistrationError: where the CPU's memory does not suffice either.
    """
    half = half_precision(device) if device.type == "cuda" and dtype == torch.float32 else None
    attempts = [(device, dtype)]
    if half is not None:
        attempts.append((device, half))
    if device.type != "cpu":
        attempts.append((torch.device("cpu"), None))
    for number, (place, kind) in enumerate(attempts):
        if number:
            where = "on the CPU" if place.type == "cpu" else "in half precision"
            tell(f"The {device.type.upper()} device ran out of memory or failed; going on {where}.")
            torch.cuda.empty_cache()
        try:
            return run(place, choose_precision(place) if kind is None else kind)
        except (RuntimeError, MemoryError) as error:
            if not _recoverable(error, place):
                raise
            # Only the sentence is kept: the exception would hold the tensors that filled the memory.
            reason = str(error).splitlines()[0]
    raise RegistrationError(f"there is not enough memory for the network ({reason}); close other programs.")


def _recoverable(error: RuntimeError | MemoryError, device: torch.device) -> bool:
    """Out of memory; on MPS anything, as operations are missing there from one torch to the next."""
    if device.type == "cpu":
        return isinstance(error, MemoryError) or "allocate memory" in str(error)
    return device.type == "mps" or isinstance(error, torch.cuda.OutOfMemoryError)

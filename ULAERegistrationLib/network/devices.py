"""Choose the device and the precision of the network, and fall back where a GPU fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TypeVar

import torch

from ..errors import NOT_ENOUGH_MEMORY, RegistrationError, lacks_memory
from ..settings import DEVICES, PRECISIONS
from .fast.convolution import convolve

Result = TypeVar("Result")

# In these releases half-precision 3-D convolutions on CUDA are wrong or very slow: pytorch issues 163539, 166122,
# 166643.
BAD_CUDA_RELEASES = ("2.9.0", "2.9.1")
# Largest root mean square error of a convolution's output relative to its standard deviation: rounding in bfloat16
# gives 0.003, a broken kernel far more.
TRUSTED_ERROR = 0.02


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes CUDA if it is available, then MPS, then the CPU.

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
    """Return the number type of the convolutions; "auto" takes half precision if `half_precision` allows one.

    The choice depends on the machine alone, so that two runs on one machine give the same numbers.

    Raises:
        RegistrationError: for an unknown name, or a type that this device or this torch cannot convolve in correctly.
    """
    if name not in PRECISIONS:
        raise RegistrationError(f"precision {name!r} is not known; choose one of {', '.join(PRECISIONS)}.")
    if name == "auto":
        return half_precision(device) or torch.float32
    dtype: torch.dtype = getattr(torch, name)
    if dtype == torch.float32:
        return dtype
    if device.type == "cuda" and _bad_cuda_release():
        raise RegistrationError(
            f"torch {torch.__version__} convolves wrongly in {name} on CUDA; choose precision float32 or another torch."
        )
    if name == "float16" and device.type == "cpu":
        raise RegistrationError("float16 is for GPUs; choose precision bfloat16, float32 or auto on the CPU.")
    if device.type == "cpu" and not _trusted(device, dtype):
        raise RegistrationError(f"This processor cannot convolve in {name}; choose precision float32 or auto.")
    return dtype


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type to convolve in on this device.

    Returns:
        None where the device has no such type in hardware, or its results do not agree with float32.
    """
    if device.type == "cpu":
        return torch.bfloat16 if _has_bfloat16_units() and _trusted(device, torch.bfloat16) else None
    if device.type == "cuda" and not _bad_cuda_release():
        return next((dtype for dtype in (torch.float16, torch.bfloat16) if _trusted(device, dtype)), None)
    return None


def _has_bfloat16_units() -> bool:
    """Tell whether the processor multiplies bfloat16 in hardware; emulation is slower than float32.

    The functions of torch that tell so are undocumented; where they are missing, the answer is no.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _bad_cuda_release() -> bool:
    return torch.__version__.split("+")[0] in BAD_CUDA_RELEASES


@lru_cache
def _trusted(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether convolutions like the network's run in this type and agree with float32."""
    generator = torch.Generator().manual_seed(0)
    cases: tuple[tuple[int, dict[str, int]], ...] = (
        (18, {"padding": 1}),
        (16, {"stride": 2, "padding": 3, "dilation": 3}),
    )
    for channels, options in cases:
        x = torch.randn(1, channels, 32, 32, 32, generator=generator)
        weight = torch.randn(16, channels, 3, 3, 3, generator=generator) / (27 * channels) ** 0.5
        try:
            exact, rough = _convolve(x, weight, options), _convolve(x, weight, options, device, dtype)
        except RuntimeError:
            return False
        # Written so that a NaN is not trusted.
        if not (rough - exact).square().mean().sqrt() <= TRUSTED_ERROR * exact.std():
            return False
    return True


@torch.no_grad()
def _convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    options: dict[str, int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Convolve as the fast network does; the result is float32 on the CPU."""
    x = x.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    stride, padding, dilation = (
        options.get(name, usual) for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    return convolve(x, weight, None, (stride,) * 3, (padding,) * 3, (dilation,) * 3).float().cpu()


def with_fallback(
    run: Callable[[torch.device, torch.dtype], Result],
    device: torch.device,
    dtype: torch.dtype | None,
    tell: Callable[[str], None],
) -> Result:
    """Call `run`; where a GPU fails, call it again in half precision and then on the CPU.

    A GPU's memory may not suffice, be held by other programs, or torch may lack operations for it; all are a
    RuntimeError, and what is wrong with the computation itself fails on the CPU too.

    Args:
        run: the computation, given a device and a number type.
        device, dtype: those of the first attempt; None for a computation that knows float32 alone.
        tell: called with one sentence before every further attempt.

    Returns:
        What `run` returns.

    Raises:
        RegistrationError: where the CPU's memory does not suffice either.
    """
    half = half_precision(device) if device.type == "cuda" and dtype == torch.float32 else None
    attempts: list[tuple[torch.device, torch.dtype | None]] = [(device, dtype or torch.float32)]
    if half is not None:
        attempts.append((device, half))
    if device.type != "cpu":
        attempts.append((torch.device("cpu"), None))
    for number, (place, kind) in enumerate(attempts):
        if number:
            where = "on the CPU" if place.type == "cpu" else "in half precision"
            tell(f"The {device.type.upper()} device ran out of memory or failed; going on {where}.")
            with suppress(RuntimeError):  # where the GPU cannot be used at all
                torch.cuda.empty_cache()
        try:
            return run(place, choose_precision(place) if kind is None else kind)
        except (RuntimeError, MemoryError) as error:
            if place.type == "cpu" and not lacks_memory(error):
                raise
    raise RegistrationError(NOT_ENOUGH_MEMORY)

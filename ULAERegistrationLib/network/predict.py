"""The network's flows for a pair of images: device, precision and memory chosen, the fast path (`folded.py`) taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from .devices import choose_device, choose_precision, with_fallback
from .fast.network import FastULAENet, FixedFeatures
from .ulaenet import ULAENet, check_grid

Progress = Callable[[float, str], None]


class FixedCache:
    """Keeps the folded weights and the last fixed image's work: give it to every `predict_flows` of a cohort."""

    def __init__(self) -> None:
        self._network: ULAENet | None = None
        self._folded: FastULAENet | None = None
        self._work: FixedFeatures | None = None

    def folded(self, network: ULAENet, device: torch.device, dtype: torch.dtype) -> FastULAENet:
        """The network's folded weights; those kept, where network, device and type are the same."""
        kept = self._folded
        if kept is None or self._network is not network or (kept.device, kept.dtype) != (device, dtype):
            self._network, self._work = network, None
            self._folded = kept = FastULAENet(network, device, dtype)
        return kept

    def work(self, folded: FastULAENet, fixed: Tensor) -> FixedFeatures:
        """The fixed image's work; that kept, where the image's values are the same."""
        if folded is not self._folded or self._work is None or not torch.equal(self._work.image.cpu(), fixed):
            self._work = None
            self._work = folded.prepare(fixed)
        return self._work


def predict_flows(
    network: ULAENet,
    moving: Tensor | np.ndarray,
    fixed: Tensor | np.ndarray,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    fixed_cache: FixedCache | None = None,
) -> list[Tensor]:
    """The network's flows for one pair, as fast as this machine gives them.

    Args:
        network: any ULAENet; those without the uncoupled encoder (Table 2's baseline) run as they are, in float32.
        moving, fixed: `[L, P, S]` or `[1, 1, L, P, S]` in [0, 1], on one grid whose sides divide by 16.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the convolutions: "auto", "float32", "bfloat16" or "float16".
        progress: told a fraction and a message before each step; may raise `Cancelled`.
        fixed_cache: for several moving images on one fixed image, the same object in every call.

    Returns:
        phi1, phi2, phi3, each `[1, 3, L, P, S]` float32 on the CPU, voxels of the full grid; `compose_all` makes one
        of them.

    Raises:
        RegistrationError: for a device or precision this machine lacks, or too little memory.
        ValueError: for a grid the network cannot take.
    """
    moving, fixed = (torch.as_tensor(image, dtype=torch.float32).cpu() for image in (moving, fixed))
    moving, fixed = (image[None, None] if image.ndim == 3 else image for image in (moving, fixed))
    check_grid(moving, fixed)
    if len(moving) != 1:
        raise ValueError(f"expected one pair, got a batch of {len(moving)}")
    progress = progress or (lambda fraction, message: None)
    cache = fixed_cache or FixedCache()

    def tell(message: str) -> None:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        progress(0.0, message)

    def run(place: torch.device, dtype: torch.dtype) -> list[Tensor]:
        with _exact_float32(place):
            if not network.uncoupled:
                return _plain_flows(network, moving, fixed, place, progress)
            folded = cache.folded(network, place, dtype)
            flows = folded.flows(moving, cache.work(folded, fixed), progress)
        if dtype != torch.float32 and not all(flow.sum().isfinite() for flow in flows):
            tell(f"The network's numbers do not fit into {dtype}; going on in float32.")
            return run(place, torch.float32)
        return flows

    place = choose_device(device)
    flows = with_fallback(run, place, choose_precision(place, precision), tell)
    progress(1.0, "Network done")
    return flows


@torch.no_grad()
def _plain_flows(
    network: ULAENet, moving: Tensor, fixed: Tensor, device: torch.device, progress: Progress
) -> list[Tensor]:
    progress(0.0, f"Network, {len(network.flow_heads)} steps")
    home = next(network.parameters()).device
    try:
        return [flow.cpu() for flow in network.to(device)(moving.to(device), fixed.to(device))]
    finally:
        network.to(home)


def _exact_float32(device: torch.device) -> AbstractContextManager:
    """On CUDA, float32 convolutions that are float32: cuDNN's default is TF32, with ten bits of mantissa."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()

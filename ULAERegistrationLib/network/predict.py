"""Compute the network's flows for a pair of images, by the fast network where it can be used."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..progress import Progress, silent
from ..settings import Device, Precision
from .devices import choose_device, choose_precision, with_fallback
from .fast.network import FastULAENet
from .ulaenet import ULAENet, check_grid


@dataclass(frozen=True, eq=False)
class Prediction:
    """The network's flows for a pair, and how they were computed.

    Attributes:
        flows: phi1, phi2, phi3, each `[1, 3, L, P, S]` float32 on the CPU, voxels of the full grid; `compose_all`
            composes them.
        device: where the convolutions ran: "cpu", "cuda", "mps".
        precision: number type of the convolutions: "float32", "bfloat16", "float16".
    """

    flows: list[Tensor]
    device: str
    precision: str


def predict_flows(
    network: ULAENet,
    *,
    fixed: Tensor,
    moving: Tensor,
    device: Device = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> Prediction:
    """Compute the network's flows for one pair.

    Args:
        network: any ULAENet; one without the uncoupled encoder (Table 2's baseline) runs without the fast network, in
            float32.
        fixed, moving: `[1, 1, L, P, S]` in [0, 1], on one grid whose sides are multiples of 16, at least 32.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the convolutions: "auto", "float32", "bfloat16" or "float16".
        progress: called with the fraction done and a message before each step; it may raise `Cancelled`.

    Returns:
        The flows. Where a GPU's memory or the range of half precision does not suffice, they are computed in another
        way, with a RuntimeWarning.

    Raises:
        RegistrationError: for a device or precision that this machine lacks, or too little memory.
        ValueError: for a grid that the network cannot take.
    """
    fixed, moving = (image.to("cpu", torch.float32) for image in (fixed, moving))
    check_grid(fixed, moving)
    if len(fixed) != 1:
        raise ValueError(f"expected one pair, got a batch of {len(fixed)}")

    def tell(message: str) -> None:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        progress(0.0, message)

    def run(place: torch.device, dtype: torch.dtype) -> Prediction:
        with _exact_float32(place):
            if not network.uncoupled:
                plain = _plain_flows(network, fixed, moving, place, progress)
                return Prediction(plain, place.type, "float32")
            fast = FastULAENet(network, place, dtype)
            flows = fast.flows(fixed=fast.prepare(fixed), moving=moving, progress=progress)
        if dtype != torch.float32 and not all(flow.sum().isfinite() for flow in flows):
            tell(f"The network's numbers do not fit into {dtype}; going on in float32.")
            return run(place, torch.float32)
        return Prediction(flows, place.type, str(dtype).removeprefix("torch."))

    place = choose_device(device)
    prediction = with_fallback(run, place, choose_precision(place, precision), tell)
    progress(1.0, "Network done")
    return prediction


@torch.no_grad()
def _plain_flows(
    network: ULAENet, fixed: Tensor, moving: Tensor, device: torch.device, progress: Progress
) -> list[Tensor]:
    progress(0.0, f"Network, {len(network.flow_heads)} steps")
    before = next(network.parameters()).device
    try:
        return [flow.cpu() for flow in network.to(device)(fixed=fixed.to(device), moving=moving.to(device))]
    finally:
        network.to(before)


def _exact_float32(device: torch.device) -> AbstractContextManager:
    """Make cuDNN's float32 convolutions exact; by default they run in TF32, with ten bits of mantissa."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()

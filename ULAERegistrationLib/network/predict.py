"""The network's flows for a pair of images: by the fast path, on the device and in the precision of this machine."""

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


@dataclass(frozen=True)
class Prediction:
    """What the network found for a pair, and how it was computed.

    Attributes:
        flows: phi1, phi2, phi3, each `[1, 3, L, P, S]` float32 on the CPU, voxels of the full grid; `compose_all` makes
            one of them.
        device: where the convolutions ran: "cpu", "cuda", "mps".
        precision: their type: "float32", "bfloat16", "float16".
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
    """The network's flows for one pair, as fast as this machine gives them.

    Args:
        network: any ULAENet; those without the uncoupled encoder (Table 2's baseline) run as they are, in float32.
        fixed, moving: `[1, 1, L, P, S]` in [0, 1], on one grid whose sides divide by 16.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the convolutions: "auto", "float32", "bfloat16" or "float16".
        progress: told a fraction and a message before each step; may raise `Cancelled`.

    Raises:
        RegistrationError: for a device or precision this machine lacks, or too little memory.
        ValueError: for a grid the network cannot take.
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
    """On CUDA, float32 convolutions that are float32: cuDNN's default is TF32, with ten bits of mantissa."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()

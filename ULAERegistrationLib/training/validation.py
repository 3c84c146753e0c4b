"""How good a network is on people it never saw: label overlap and folding on the validation pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows import compose_all, grown, warp
from ..folding import jacobian
from ..network import ULAENet
from .data import Brains


@torch.no_grad()
def validate(network: ULAENet, brains: Brains, shrink: int, precision: str = "float32") -> dict[str, float]:
    """Mean Dice of the cortical labels and folding, for each source of the validation people.

    Returns:
        `dice_<source>` and `folding_<source>` (% of voxels whose determinant is not positive, by central differences).
    """
    scores: dict[str, list[float]] = {}
    for moving, fixed in brains.validation_pairs():
        images = [brains.image(p, shrink).to(brains.device) for p in (moving, fixed)]
        with torch.autocast(brains.device, dtype=torch.bfloat16, enabled=precision != "float32"):
            flows = network(*images)
        labels = [brains.labels(p).to(brains.device) for p in (moving, fixed)]
        flow = grown(compose_all(flows), shrink, tuple(labels[0].shape))
        warped = warp(labels[0][None, None].float(), flow, mode="nearest")[0, 0].to(torch.uint8)
        source = moving.split("-")[0]
        scores.setdefault(f"dice_{source}", []).append(mean_dice(warped, labels[1], source))
        scores.setdefault(f"folding_{source}", []).append(100 * (jacobian(flow) <= 0).float().mean().item())
    return {name: sum(values) / len(values) for name, values in scores.items()}


def mean_dice(a: Tensor, b: Tensor, source: str) -> float:
    """Mean Dice over the cortical labels of a source that occur in either map (NIREP 1-32, BrainCOLOR from 100)."""
    joint = torch.bincount(a.flatten().long() * 256 + b.flatten().long(), minlength=256 * 256).view(256, 256).double()
    overlap, total = joint.diagonal(), joint.sum(0) + joint.sum(1)
    cortical = slice(1, 33) if source == "nirep" else slice(100, 256)
    overlap, total = overlap[cortical], total[cortical]
    return (2 * overlap[total > 0] / total[total > 0]).mean().item()

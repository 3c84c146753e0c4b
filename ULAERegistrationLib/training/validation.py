"""Validate a network by label overlap and folding on pairs of people whom it was not trained on."""

from __future__ import annotations

import torch

from ..dataset.regions import mean_dice
from ..dataset.sources import source_of
from ..flows.jacobian import jacobian
from ..flows.warp import compose_all, upsample_flow, warp
from ..network.ulaenet import ULAENet
from ..tensors import array_of
from .data import Brains


@torch.no_grad()
def validate(network: ULAENet, brains: Brains, voxel_mm: int, precision: str = "float32") -> dict[str, float]:
    """Compute the mean Dice of the labels that are scored and the folding, for each source of the validation people.

    Args:
        network: the network to validate.
        brains: the packed set.
        voxel_mm: side of the voxels that the network runs on, mm.
        precision: "float32", or "bfloat16" for the convolutions.

    Returns:
        `dice_<source>` and `folding_<source>` (% of voxels whose determinant is not positive, by central differences).
    """
    scores: dict[str, list[float]] = {}
    for fixed, moving in brains.validation_pairs():
        images = [brains.image(p, voxel_mm).to(brains.device) for p in (fixed, moving)]
        with torch.autocast(torch.device(brains.device).type, dtype=torch.bfloat16, enabled=precision != "float32"):
            flows = network(fixed=images[0], moving=images[1])
        fixed_labels, moving_labels = (brains.labels(p) for p in (fixed, moving))
        flow = upsample_flow(compose_all(flows), voxel_mm, tuple(fixed_labels.shape))
        warped = warp(moving_labels[None, None].to(flow), flow, mode="nearest")[0, 0].to(moving_labels.dtype)
        source = source_of(fixed)
        scores.setdefault(f"dice_{source}", []).append(mean_dice(array_of(warped), array_of(fixed_labels), source))
        scores.setdefault(f"folding_{source}", []).append(100 * (jacobian(flow) <= 0).float().mean().item())
    return {name: sum(values) / len(values) for name, values in scores.items()}

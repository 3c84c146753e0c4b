"""The terms of the training loss.

They are the paper's equations 3 to 5, a penalty on folding, the error of the flow where the true one is known, and the
overlap of warped labels where there are labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..flows.jacobian import corner_jacobians
from ..flows.similarity import local_ncc
from ..flows.warp import warp
from .augmentation import Pair
from .recipe import TrainingSettings

GAMMA = 0.5


def loss_terms(
    pair: Pair, flow: Tensor, windows: Sequence[int], settings: TrainingSettings, random: torch.Generator
) -> dict[str, Tensor]:
    """Compute the terms of the loss of one pair; what the pair has no truth for is 0.

    Args:
        pair: the images, and where they are known the flow and the labels.
        flow: the composed flow that the network found, `[1, 3, L, P, S]`.
        windows: sides of the similarity's windows, voxels.
        settings: of the run.
        random: draws the labels of the step.
    """
    return {
        "similarity": multi_window_loss(pair.fixed, warp(pair.moving, flow), windows),
        "smoothness": smoothness(flow),
        "folding": folding(flow),
        "known": flow.new_zeros(()) if pair.flow is None else flow_error(flow, pair.flow, pair.fixed > 0),
        "labels": _label_term(pair, flow, settings, random),
    }


def total_loss(terms: dict[str, Tensor], settings: TrainingSettings) -> Tensor:
    """Add the terms, each but the similarity with its weight in the settings, which has its name."""
    others = [getattr(settings, name) * term for name, term in terms.items() if name != "similarity"]
    return torch.stack([terms["similarity"], *others]).sum()


def _label_term(pair: Pair, flow: Tensor, settings: TrainingSettings, random: torch.Generator) -> Tensor:
    """Compute the label distance of some labels that both images have; 0 for a pair without labels."""
    if pair.fixed_labels is None or pair.moving_labels is None:
        return flow.new_zeros(())
    held = set(pair.fixed_labels.unique().int().tolist()) & set(pair.moving_labels.unique().int().tolist())
    labels = sorted(held - {0})
    if not labels:
        return flow.new_zeros(())
    drawn = torch.randperm(len(labels), generator=random)[: settings.labels_a_step]
    return label_distance(
        flow,
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
        chosen=[labels[k] for k in drawn],
        grids=settings.label_grids,
    )


def multi_window_loss(fixed: Tensor, warped: Tensor, windows: Sequence[int]) -> Tensor:
    """Compute equation 3: minus the local NCC over several windows, the i-th weighted by 0.5^(i-1)."""
    similarities = [GAMMA**i * local_ncc(fixed, warped, window) for i, window in enumerate(windows)]
    return -torch.stack(similarities).sum()


def smoothness(flow: Tensor) -> Tensor:
    """Compute equation 4 as a mean over voxels and axes: squared forward differences of a flow `[B, 3, L, P, S]`."""
    return torch.stack([(flow.diff(dim=axis) ** 2).mean() for axis in (2, 3, 4)]).mean()


def folding(flow: Tensor) -> Tensor:
    """Compute the mean over voxels and corners of how far the corner determinants of `id + flow` are below zero."""
    return torch.relu(-corner_jacobians(flow)).mean()


def flow_error(flow: Tensor, known: Tensor, brain: Tensor) -> Tensor:
    """Compute the mean squared distance to a known flow inside the brain, in voxels squared.

    Args:
        flow, known: `[B, 3, L, P, S]`.
        brain: bool `[B, 1, L, P, S]`.
    """
    return (((flow - known) ** 2).sum(1, keepdim=True) * brain).sum() / brain.sum().clamp_min(1)


def label_distance(
    flow: Tensor, *, fixed_labels: Tensor, moving_labels: Tensor, chosen: Sequence[int], grids: Sequence[int] = (2,)
) -> Tensor:
    """Compute one minus the mean soft Dice of some labels, after warping the moving ones, averaged over some grids.

    Args:
        flow: `[1, 3, L, P, S]`, voxels of the label maps' grid; only it receives gradients.
        fixed_labels, moving_labels: label maps `[1, 1, L, P, S]`.
        chosen: the labels that count, at least one; the Dice of one that neither map has is 0.
        grids: sides of the grids' voxels, in voxels of the label maps' grid.
    """
    numbers = torch.tensor(list(chosen), device=flow.device).view(1, -1, 1, 1, 1)
    fixed, moving = ((labels == numbers).float() for labels in (fixed_labels, moving_labels))
    distances = []
    for side in grids:
        still, pooled = F.avg_pool3d(fixed, side), F.avg_pool3d(moving, side)
        warped = warp(pooled, F.avg_pool3d(flow, side) / side)
        overlap = 2 * (still * warped).sum((2, 3, 4)) / (still + warped).sum((2, 3, 4)).clamp_min(1)
        distances.append(1 - overlap.mean())
    return torch.stack(distances).mean()

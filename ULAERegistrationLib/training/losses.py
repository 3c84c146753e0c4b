"""What the network is trained on: the paper's equations 3 to 5, a penalty where the map folds,
and the error of the flow where it is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..folding import corner_jacobians
from ..similarity import local_ncc

GAMMA = 0.5


def multi_window_loss(fixed: Tensor, warped: Tensor, windows: Sequence[int]) -> Tensor:
    """Equation 3: minus the local NCC over several windows, the i-th weighted by 0.5^(i-1)."""
    return -sum(GAMMA**i * local_ncc(fixed, warped, window) for i, window in enumerate(windows))


def smoothness(flow: Tensor) -> Tensor:
    """Equation 4 as a mean: squared forward differences of a flow `[B, 3, L, P, S]`, over voxels and axes."""
    return sum((flow.diff(dim=axis) ** 2).mean() for axis in (2, 3, 4)) / 3


def folding(flow: Tensor) -> Tensor:
    """How far the corner Jacobian determinants of `id + flow` are below zero, averaged over voxels and corners."""
    return torch.relu(-corner_jacobians(flow)).mean()


def flow_error(flow: Tensor, known: Tensor, brain: Tensor) -> Tensor:
    """Mean squared distance to a known flow inside the brain, voxels squared.

    Args:
        flow, known: `[B, 3, L, P, S]`.
        brain: bool `[B, 1, L, P, S]`.
    """
    return (((flow - known) ** 2).sum(1, keepdim=True) * brain).sum() / brain.sum().clamp_min(1)

"""Jacobian determinants of a flow, and where it folds.

A central difference looks past a voxel's own position and misses folds of one voxel, so a voxel counts as folded when
any of its eight corners is: the determinant of each combination of forward and backward differences along the three
axes (Liu et al., "On Finite Difference Jacobian Computation in Deformable Image Registration", IJCV 2024). A
determinant is linear in each of its columns, so the central one is the mean of the eight: no fold at the corners means
none by central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

# Planes along L worked on at once, so that what a slab needs stays in the processor's cache.
SLAB = 8


def corner_jacobians(flow: Tensor) -> Tensor:
    """The eight determinants of forward and backward differences at every voxel; differentiable.

    Args:
        flow: `[B, 3, L, P, S]`, voxels of its own grid, every side at least 2.

    Returns:
        `[B, 8, L, P, S]`. At the grid's border a difference that would leave it is taken from the other side.
    """
    sides = [_differences(flow, axis) for axis in range(3)]
    return torch.stack([_determinant(*columns) for columns in product(*sides)], 1)


def smallest_jacobian(flow: Tensor) -> Tensor:
    """The smallest of each voxel's eight corner determinants, `[B, L, P, S]`: 0 or less is a fold."""
    return _by_slabs(lambda part: corner_jacobians(part).amin(1), flow)


def folded(flow: Tensor) -> Tensor:
    """Where a flow folds at any corner: bool `[B, L, P, S]`."""
    return smallest_jacobian(flow) <= 0


def jacobian(flow: Tensor) -> Tensor:
    """Jacobian determinant of `p + flow(p)` by central differences, one-sided at the grid's border.

    Returns:
        `[B, L, P, S]`: how many voxels of the moving image are carried into each voxel of the fixed one; 1 keeps
        volume, above 1 the moving image shrinks there, below 1 it is stretched, 0 or less it folds.
    """
    return _by_slabs(_central, flow)


def _central(flow: Tensor) -> Tensor:
    sides = (_differences(flow, axis) for axis in range(3))
    return _determinant(*((forward + backward) / 2 for forward, backward in sides))


def _differences(flow: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Forward and backward derivative of `p + flow(p)` along one axis, each `[B, 3, L, P, S]`."""
    steps = flow.diff(dim=axis + 2)
    unit = torch.zeros(3, dtype=flow.dtype, device=flow.device)
    unit[axis] = 1
    steps = steps + unit.view(1, 3, 1, 1, 1)
    last = steps.shape[axis + 2] - 1
    forward = torch.cat([steps, steps.narrow(axis + 2, last, 1)], axis + 2)
    backward = torch.cat([steps.narrow(axis + 2, 0, 1), steps], axis + 2)
    return forward, backward


def _determinant(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Determinant of the 3x3 matrices with columns a, b, c, each `[B, 3, L, P, S]`."""
    (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = a.unbind(1), b.unbind(1), c.unbind(1)
    return a0 * (b1 * c2 - b2 * c1) + a1 * (b2 * c0 - b0 * c2) + a2 * (b0 * c1 - b1 * c0)


def _by_slabs(function: Callable[[Tensor], Tensor], flow: Tensor) -> Tensor:
    """`function(flow)` computed a few planes at a time, each slab seeing the plane before and after it."""
    length = flow.shape[2]
    results = []
    for start in range(0, length, SLAB):
        stop = min(start + SLAB, length)
        first, last = max(start - 1, 0), min(stop + 1, length)
        results.append(function(flow[:, :, first:last])[:, start - first : stop - first])
    return torch.cat(results, 1)

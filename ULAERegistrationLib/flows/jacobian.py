"""Jacobian determinants of a flow, and where it folds.

Central differences do not use the voxel's own displacement and so miss folds of one voxel. A voxel therefore counts as
folded where any of its eight corner determinants is 0 or less, one for each combination of forward and backward
differences along the three axes (Liu et al., "On Finite Difference Jacobian Computation in Deformable Image
Registration", IJCV 2024). A determinant is linear in each of its columns, so the central one is the mean of the eight:
a voxel without a fold at its corners has none by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from typing import TypeAlias

import torch
from torch import Tensor

from .warp import values_at

# Planes along L computed at once, so that the intermediate results stay in the processor's cache.
SLAB = 8

Vector: TypeAlias = tuple[Tensor, Tensor, Tensor]  # the components of a field of vectors, each `[B, L, P, S]`


def corner_jacobians(flow: Tensor) -> Tensor:
    """Compute the eight determinants of forward and backward differences at every voxel; differentiable.

    Args:
        flow: `[B, 3, L, P, S]`, voxels of its own grid, every side at least 2.

    Returns:
        `[B, 8, L, P, S]`. A difference that would reach beyond the grid is replaced by the one on the other side.
    """
    return torch.stack([*_corners([_differences(flow, axis) for axis in range(3)])], 1)


def smallest_jacobian(flow: Tensor) -> Tensor:
    """Compute the smallest of each voxel's eight corner determinants, `[B, L, P, S]`: 0 or less is a fold."""
    return _by_slabs(lambda part: _smallest([_differences(part, axis) for axis in range(3)]), flow)


def smallest_jacobian_at(flow: Tensor, voxels: Tensor) -> Tensor:
    """Compute `smallest_jacobian` at some voxels only.

    Args:
        flow: `[1, 3, L, P, S]`, voxels of its own grid, every side at least 2.
        voxels: `[3, N]`, whole numbers.

    Returns:
        `[N]`.
    """
    parts = voxels.split(SLAB * flow.shape[3] * flow.shape[4], dim=1)
    return torch.cat([_smallest([_differences_at(flow, part, axis) for axis in range(3)])[0] for part in parts])


def jacobian(flow: Tensor) -> Tensor:
    """Compute the Jacobian determinant of `p + flow(p)` by central differences, one-sided at the grid's border.

    Args:
        flow: `[B, 3, L, P, S]`, voxels of its own grid, every side at least 2.

    Returns:
        `[B, L, P, S]`: the volume of the moving image that is mapped into each voxel of the fixed one. 1 keeps volume;
        above 1 the moving image shrinks there, below 1 it expands, at 0 or less the map folds.
    """
    return _by_slabs(_central, flow)


def jacobian_and_smallest(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `jacobian` and `smallest_jacobian` of a flow together, in about half the time of both."""
    central, smallest = _by_slabs(_mean_and_smallest, flow).unbind(2)
    return central, smallest


def _mean_and_smallest(flow: Tensor) -> Tensor:
    """Compute the mean, which is the central determinant, and the smallest of the eight: `[B, L, 2, P, S]`."""
    corners = _corners([_differences(flow, axis) for axis in range(3)])
    total = next(corners)
    smallest = total.clone()
    for corner in corners:
        total += corner
        smallest = torch.minimum(smallest, corner)
    return torch.stack([total / 8, smallest], 2)


def _central(flow: Tensor) -> Tensor:
    sides = (_differences(flow, axis) for axis in range(3))
    first, second, third = ((forward + backward) / 2 for forward, backward in sides)
    return _dot(first, _cross(second, third))


def _differences(flow: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Compute forward and backward differences of `p + flow(p)` along one axis, each `[B, 3, L, P, S]`."""
    steps = flow.diff(dim=axis + 2)
    unit = torch.zeros(3, dtype=flow.dtype, device=flow.device)
    unit[axis] = 1
    steps = steps + unit.view(1, 3, 1, 1, 1)
    last = steps.shape[axis + 2] - 1
    forward = torch.cat([steps, steps.narrow(axis + 2, last, 1)], axis + 2)
    backward = torch.cat([steps.narrow(axis + 2, 0, 1), steps], axis + 2)
    return forward, backward


def _differences_at(flow: Tensor, voxels: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Compute `_differences` at some voxels `[3, N]` only, each `[1, 3, N]`."""
    unit = torch.zeros(3, 1, dtype=torch.long, device=flow.device)
    unit[axis] = 1

    def difference(first: Tensor) -> Tensor:
        low = voxels.clone()
        low[axis] = first.clamp(0, flow.shape[axis + 2] - 2)
        return values_at(flow, low + unit) - values_at(flow, low) + unit

    return difference(voxels[axis]), difference(voxels[axis] - 1)


def _smallest(sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute the smallest of the eight determinants of forward and backward differences, which come for each axis."""
    return reduce(torch.minimum, _corners(sides))


def _corners(sides: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """Compute the eight determinants of forward and backward differences, which come for each axis."""
    for second, third in product(*sides[1:]):
        across = _cross(second, third)  # serves two determinants, which saves a third of the arithmetic
        for first in sides[0]:
            yield _dot(first, across)


def _cross(a: Tensor, b: Tensor) -> Vector:
    """Compute the vector product of two fields of vectors, each `[B, 3, L, P, S]`."""
    (a0, a1, a2), (b0, b1, b2) = a.unbind(1), b.unbind(1)
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


def _dot(a: Tensor, b: Vector) -> Tensor:
    """Compute the scalar product of two fields of vectors, the first `[B, 3, L, P, S]`."""
    a0, a1, a2 = a.unbind(1)
    return a0 * b[0] + a1 * b[1] + a2 * b[2]


def _by_slabs(function: Callable[[Tensor], Tensor], flow: Tensor) -> Tensor:
    """Compute `function(flow)` a slab of planes at a time, each slab with the plane before and after it."""
    length = flow.shape[2]
    results = []
    for start in range(0, length, SLAB):
        stop = min(start + SLAB, length)
        first, last = max(start - 1, 0), min(stop + 1, length)
        results.append(function(flow[:, :, first:last])[:, start - first : stop - first])
    return torch.cat(results, 1)

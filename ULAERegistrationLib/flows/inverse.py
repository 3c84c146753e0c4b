"""Invert a flow by fixed-point iteration (Chen et al., A simple fixed-point approach, Med Phys 2008)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .warp import resample_flow, warp

COARSEST_SIDE = (
    64  # sides of the grid on which the iteration starts from scratch; finer ones start from the coarser result
)
ITERATIONS = 2  # at all voxels
LAST_ITERATIONS = 12  # at the voxels that are not done by then
TOLERANCE = 0.03  # voxels; a voxel is done when its residual |v(q) + flow(q + v(q))| is less
SLAB = 8  # planes that are computed at a time, so that they stay in the processor's cache


def invert_flow(flow: Tensor) -> Tensor:
    """Compute the flow v of the inverse map: with T = id + flow, T^-1 = id + v, where v(q) = -flow(q + v(q)).

    Every voxel is iterated by itself, so the iterations go on only where they are still needed. Where the map folds
    there is no inverse, and the result is the last iterate.

    Args:
        flow: `[1, 3, L, P, S]`, voxels of its own grid; zero outside the grid.

    Returns:
        `[1, 3, L, P, S]`, voxels.
    """
    size = flow.shape[2:]
    inverse = -flow
    if max(size) > COARSEST_SIDE:
        inverse = resample_flow(invert_flow(resample_flow(flow, _half(size))), size)
    for first in range(0, size[0], SLAB):
        part = inverse[:, :, first : first + SLAB]
        part.copy_(_inverted(flow, part, first))
    return inverse


def invert_flow_around(flow: Tensor, points: Tensor) -> Tensor:
    """Compute what `invert_flow` gives, interpolated at some points, and only there.

    Args:
        flow: `[1, 3, L, P, S]`, voxels of its own grid; zero outside the grid.
        points: `[1, 3, N]`, voxels, within the grid.

    Returns:
        `[1, 3, N]`, voxels.
    """
    size = flow.shape[2:]
    largest = torch.tensor(size, device=flow.device).view(1, 3, 1) - 1
    half_size = _half(size)
    half = invert_flow(resample_flow(flow, half_size))
    halved = torch.tensor(half_size, device=flow.device).view(1, 3, 1)
    lower = points.floor()
    total = torch.zeros_like(points)
    for offsets in product((0, 1), repeat=3):
        voxels = (lower + torch.tensor(offsets, device=flow.device).view(1, 3, 1)).minimum(largest)
        # The grid of half the size has its first and last voxels where the whole one has them.
        start = sample_at(half, voxels * ((halved - 1) / largest)) * (largest / (halved - 1))
        found = _inverted_at(flow, start, voxels)
        total += found * (1 - (points - voxels).abs()).clamp_min(0).prod(1, keepdim=True)
    return total


def _half(size: Sequence[int]) -> list[int]:
    """Return the size of a grid with half as many voxels along each axis; two stay two, and one stays one."""
    return [max((n + 1) // 2, min(n, 2)) for n in size]


def _inverted_at(flow: Tensor, start: Tensor, voxels: Tensor) -> Tensor:
    """Invert a flow at some voxels, `[1, 3, N]`."""

    def sampled_from(places: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda inverse: sample_at(flow, places + inverse)

    inverse = _iterate(sampled_from(voxels), start, ITERATIONS)
    residual = sampled_from(voxels)(inverse).add_(inverse).square_().sum(1)[0]
    others = residual > TOLERANCE**2
    if others.any():
        inverse[:, :, others] = _iterate(sampled_from(voxels[:, :, others]), inverse[:, :, others], LAST_ITERATIONS)
    return inverse


def _inverted(flow: Tensor, start: Tensor, first: int) -> Tensor:
    """Invert a flow in a slab of planes, `[1, 3, l, P, S]`, of which the first is plane `first` of the grid."""

    def sampled(inverse: Tensor) -> Tensor:
        return warp(flow, inverse, origin=(first, 0, 0))

    inverse = _iterate(sampled, start, ITERATIONS)
    residual = sampled(inverse).add_(inverse).square_().sum(1)[0]
    voxels = (residual > TOLERANCE**2).nonzero()
    if not len(voxels):
        return inverse
    x, y, z = voxels.unbind(1)
    there = voxels.t()[None] + torch.tensor([first, 0, 0], device=flow.device).view(1, 3, 1)
    inverse[:, :, x, y, z] = _iterate(
        lambda found: sample_at(flow, there + found), inverse[:, :, x, y, z], LAST_ITERATIONS
    )
    return inverse


def _iterate(sampled: Callable[[Tensor], Tensor], inverse: Tensor, iterations: int) -> Tensor:
    """Iterate v <- v + w (-flow(q + v) - v), with a relaxation w of its own for each voxel.

    The relaxation is the secant's (Irons and Tuck 1969, a vector form of Aitken's): it converges faster than whole
    steps, and also where the flow does not contract.

    Args:
        sampled: returns the flow at q + v(q) for an inverse flow v.
        inverse: the start, `[1, 3, ...]`.
        iterations: how many.
    """
    share = torch.full_like(inverse[:, :1], 0.7)
    before = None
    for _ in range(iterations):
        step = sampled(inverse).add_(inverse).neg_()
        if before is not None:
            change = step - before
            secant = (before * change).sum(1, keepdim=True) / change.square().sum(1, keepdim=True).add_(1e-9)
            share = (-share * secant).clamp_(0.1, 1.5)
        inverse = torch.addcmul(inverse, step, share)
        before = step
    return inverse


def sample_at(flow: Tensor, points: Tensor) -> Tensor:
    """Sample a flow `[1, 3, L, P, S]` at points `[1, 3, N]` in voxels, zero outside its grid; returns `[1, 3, N]`."""
    scale = torch.tensor([2 / max(n - 1, 1) for n in flow.shape[2:]], device=flow.device)
    # For grid_sample -1 and 1 are the centres of the first and the last voxel, and the last axis comes first.
    place = (points[0] * scale[:, None] - 1).flip(0).t()
    parts = torch.get_num_threads()  # grid_sample on the CPU runs one thread per batch item
    place = F.pad(place, (0, 0, 0, -len(place) % parts)).view(parts, -1, 1, 1, 3)
    values = F.grid_sample(flow.expand(parts, -1, -1, -1, -1), place, align_corners=True)
    return values.transpose(0, 1).reshape(1, 3, -1)[..., : points.shape[2]]

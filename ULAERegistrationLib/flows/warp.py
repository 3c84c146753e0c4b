"""Flows on a voxel grid: warp, resize, compose, and where they fold.

Every array is `[batch, channel, L, P, S]`. A flow has three channels, the displacement along L, P and S in voxels of
its own grid, and pulls back: `warped(p) = image(p + flow(p))`, voxel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def identity_grid(size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Voxel coordinates of a grid, `[1, 3, L, P, S]`, float32."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def warp(image: Tensor, flow: Tensor, padding: str = "zeros", mode: str = "bilinear") -> Tensor:
    """Sample an image where the flow points: `image(p + flow(p))`.

    Args:
        image: `[B, C, L, P, S]`.
        flow: `[B, 3, L', P', S']`, voxels of the image's grid.
        padding: what lies outside the image: "zeros", or "border", its outermost voxels (for flows).
        mode: "bilinear" (trilinear in 3-D) or "nearest" (for labels).

    Returns:
        `[B, C, L', P', S']`, the image's values on the flow's grid.
    """
    size = image.shape[2:]
    scale = torch.tensor([2 / max(n - 1, 1) for n in size], device=flow.device).view(1, 3, 1, 1, 1)
    grid = (flow + identity_grid(flow.shape[2:], flow.device)) * scale - 1
    # torch counts the sampling axes from the last one back.
    grid = grid.flip(1).permute(0, 2, 3, 4, 1)
    slabs = _slabs(grid)
    if slabs == 1:
        return F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=True)
    # grid_sample on the CPU uses one thread per batch item: hand it the slabs of one grid as a batch.
    grid = grid.reshape(slabs, -1, *grid.shape[2:])
    sampled = F.grid_sample(
        image.expand(slabs, -1, -1, -1, -1), grid, mode=mode, padding_mode=padding, align_corners=True
    )
    return sampled.transpose(0, 1).reshape(1, image.shape[1], *flow.shape[2:])


def _slabs(grid: Tensor) -> int:
    batch, depth = grid.shape[:2]
    if grid.device.type != "cpu" or batch > 1:
        return 1
    threads = torch.get_num_threads()
    return max(n for n in range(1, threads + 1) if depth % n == 0)


def resize_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """The same flow on another grid of the same extent, its voxels re-measured in the new grid's.

    Args:
        flow: `[B, 3, l, p, s]`.
        size: the new `(L, P, S)`. Displacements scale by L / l and so on, as the paper's up-sampling S does
            (equation 2): a flow from half the grid is doubled.
    """
    if tuple(flow.shape[2:]) == tuple(size):
        return flow
    scale = torch.tensor([new / old for new, old in zip(size, flow.shape[2:], strict=True)], device=flow.device)
    resized = F.interpolate(flow, size=tuple(size), mode="trilinear", align_corners=True)
    return resized * scale.to(flow.dtype).view(1, 3, 1, 1, 1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """One flow for two accumulative steps: paper equation 2, `first o second + second`.

    With `T = id + flow`, the result is `T_first(T_second(p))`: an image warped by `first` and then by `second` equals
    the image warped once by the result.
    """
    return warp(first, second, padding="border") + second


def compose_all(flows: Sequence[Tensor]) -> Tensor:
    """phi of equation 2 from phi1, phi2, ... on one grid: `T1(T2(T3(p)))`.

    Composed from the last step back, which is exact at voxel centres; from the first on, phi1 o phi2 would be
    interpolated once more.
    """
    total = flows[-1]
    for flow in reversed(flows[:-1]):
        total = compose(flow, total)
    return total


def shrunk(image: Tensor, shrink: int) -> Tensor:
    """An image on a coarser grid: means over blocks of `shrink` voxels a side, zeros up to multiples of 16.

    Args:
        image: `[B, C, L, P, S]`, sides that divide by `shrink`.
    """
    if shrink > 1:
        image = F.avg_pool3d(image, shrink)
    return F.pad(image, [side for n in reversed(image.shape[2:]) for side in (0, -n % 16)])


def grown(flow: Tensor, shrink: int, size: Sequence[int]) -> Tensor:
    """A flow found between two `shrunk` images, on their full grid and in its voxels.

    Args:
        flow: `[B, 3, l, p, s]`, the padding of `shrunk` included.
        size: the full `(L, P, S)`.
    """
    if shrink == 1:
        return flow
    length, depth, height = (n // shrink for n in size)
    inner = flow[:, :, :length, :depth, :height]
    # The mean of a block sits in its middle, between voxel centres: that is align_corners=False.
    return F.interpolate(inner, size=tuple(size), mode="trilinear", align_corners=False) * shrink

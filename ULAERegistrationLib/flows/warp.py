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


def warp(
    image: Tensor,
    flow: Tensor,
    padding: str = "zeros",
    mode: str = "bilinear",
    origin: tuple[int, int, int] = (0, 0, 0),
) -> Tensor:
    """Sample an image where the flow points: `image(p + flow(p))`.

    Args:
        image: `[B, C, L, P, S]`.
        flow: `[B, 3, L', P', S']`, voxels of the image's grid; the whole grid's, or a part's.
        padding: what lies outside the image: "zeros", or "border", its outermost voxels (for flows).
        mode: "bilinear" (trilinear in 3-D) or "nearest" (for labels).
        origin: the voxel of the image's grid at which the flow's first voxel lies.

    Returns:
        `[B, C, L', P', S']`, the image's values on the flow's grid.
    """
    axes = []
    for axis, (sides, first, length) in enumerate(zip(image.shape[2:], origin, flow.shape[2:], strict=True)):
        voxels = torch.arange(first, first + length, dtype=flow.dtype, device=flow.device)
        coordinate = flow[:, axis] + voxels.view(-1, *[1] * (2 - axis))
        # The scale of grid_sample: -1 and 1 are the centres of the first and the last voxel.
        axes.append(coordinate.mul_(2 / max(sides - 1, 1)).sub_(1))
    # torch counts the sampling axes from the last one back.
    points = torch.stack(axes[::-1], -1)
    if len(flow) > 1 or flow.device.type != "cpu":
        return F.grid_sample(image, points, mode=mode, padding_mode=padding, align_corners=True)
    # grid_sample on the CPU gives each batch item one thread: rows of voxels are handed to it as a batch.
    rows = flow.shape[2] * flow.shape[3]
    parts = max(n for n in range(1, torch.get_num_threads() + 1) if rows % n == 0)
    points = points.view(parts, rows // parts, 1, -1, 3)
    images = image.expand(parts, -1, -1, -1, -1)
    values = F.grid_sample(images, points, mode=mode, padding_mode=padding, align_corners=True)
    return values.transpose(0, 1).reshape(1, image.shape[1], *flow.shape[2:])


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


def compose(first: Tensor, second: Tensor, origin: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """One flow for two accumulative steps: paper equation 2, `first o second + second`.

    With `T = id + flow`, the result is `T_first(T_second(p))`: an image warped by `first` and then by `second` equals
    the image warped once by the result.

    Args:
        first: `[B, 3, L, P, S]`, on the whole grid.
        second: `[B, 3, L', P', S']`, on the whole grid or a part of it.
        origin: the voxel of the whole grid at which the part begins.
    """
    return warp(first, second, padding="border", origin=origin) + second


def compose_all(flows: Sequence[Tensor], origin: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """phi of equation 2 from phi1, phi2, ...: `T1(T2(T3(p)))`.

    Composed from the last step back, which is exact at voxel centres; from the first on, phi1 o phi2 would be
    interpolated once more.

    Args:
        flows: `[B, 3, L, P, S]` each, on one grid; the last one may be a part of it that begins at the voxel `origin`,
            and the result then is that part of the whole.
    """
    *earlier, total = flows
    for flow in reversed(earlier):
        total = compose(flow, total, origin)
    return total


def downsample_image(image: Tensor, voxel_mm: int) -> Tensor:
    """An image of 1 mm voxels on a coarser grid: means over blocks, zeros up to sides that are multiples of 16.

    Args:
        image: `[B, C, L, P, S]`, sides that divide by `voxel_mm`.
        voxel_mm: side of the new voxels.
    """
    if voxel_mm > 1:
        image = F.avg_pool3d(image, voxel_mm)
    return F.pad(image, [side for n in reversed(image.shape[2:]) for side in (0, -n % 16)])


def upsample_flow(flow: Tensor, voxel_mm: int, size: Sequence[int]) -> Tensor:
    """A flow found between two images from `downsample_image`, on their full grid and in its voxels of 1 mm.

    Args:
        flow: `[B, 3, l, p, s]`, the padding of `downsample_image` included.
        voxel_mm: side of its voxels.
        size: the full `(L, P, S)`.
    """
    if voxel_mm == 1:
        return flow
    length, depth, height = (n // voxel_mm for n in size)
    inner = flow[:, :, :length, :depth, :height]
    # The mean of a block sits in its middle, between voxel centres: that is align_corners=False.
    return F.interpolate(inner, size=tuple(size), mode="trilinear", align_corners=False) * voxel_mm

"""Flows on a voxel grid: warp images by them, resize and compose them.

Every array is `[batch, channel, L, P, S]`. A flow has three channels, the displacement along L, P and S in voxels of
its own grid, and is a pull-back: `warped(p) = image(p + flow(p))`, voxel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .sampling import SLAB, coordinates, sample, warp_by_planes


def warp(
    image: Tensor,
    flow: Tensor,
    padding: str = "zeros",
    mode: str = "bilinear",
    origin: tuple[int, int, int] = (0, 0, 0),
) -> Tensor:
    """Warp an image by a flow: `image(p + flow(p))`.

    Args:
        image: `[B, C, L, P, S]`.
        flow: `[B, 3, L', P', S']`, voxels of the image's grid, on the whole grid or a part of it.
        padding: values outside the image: "zeros", or "border" for those of its outermost voxels (used for flows).
        mode: "bilinear" (trilinear in 3-D) or "nearest" (for labels).
        origin: the voxel of the image's grid at which the flow's first voxel lies.

    Returns:
        `[B, C, L', P', S']`, the image's values on the flow's grid.
    """
    with_gradient = torch.is_grad_enabled() and (image.requires_grad or flow.requires_grad)
    if with_gradient or flow.device.type != "cpu":
        return sample(image, coordinates(flow, origin), padding, mode)
    if len(image) == 1 and mode == "bilinear":
        return warp_by_planes(image, flow, padding, origin)
    warped = image.new_empty(*image.shape[:2], *flow.shape[2:])
    for start in range(0, flow.shape[2], SLAB):
        part, its_origin = flow[:, :, start : start + SLAB], (origin[0] + start, *origin[1:])
        warped[:, :, start : start + SLAB] = sample(image, coordinates(part, its_origin), padding, mode)
    return warped


def resize_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a flow of the network as the paper's up-sampling S (equation 2) does: of twice the size, it is doubled.

    The outermost voxel centres of the two grids coincide, so displacements grow a little more than distances between
    voxels do, 160 / 80 against 159 / 79. The weights were trained with it; `resample_flow` is exact.

    Args:
        flow: `[B, 3, l, p, s]`.
        size: the new `(L, P, S)`. Displacements are multiplied by L / l and so on.
    """
    return _resized(flow, size, [new / old for new, old in zip(size, flow.shape[2:], strict=True)])


def resample_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Resample a flow to another grid with the same outermost voxel centres, and convert it to voxels of that grid.

    Args:
        flow: `[B, 3, l, p, s]`.
        size: the new `(L, P, S)`, at least two voxels along each axis where the flow has two. Displacements are
            multiplied by (L - 1) / (l - 1) and so on.
    """
    sides = zip(size, flow.shape[2:], strict=True)
    return _resized(flow, size, [(new - 1) / (old - 1) if old > 1 else 1.0 for new, old in sides])


def _resized(flow: Tensor, size: Sequence[int], scale: Sequence[float]) -> Tensor:
    """Interpolate a flow on another grid with the same outermost voxel centres, and multiply its components."""
    if tuple(flow.shape[2:]) == tuple(size):
        return flow
    resized = F.interpolate(flow, size=tuple(size), mode="trilinear", align_corners=True)
    return resized * torch.tensor(scale, dtype=flow.dtype, device=flow.device).view(1, 3, 1, 1, 1)


def compose(first: Tensor, second: Tensor, origin: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """Compose the flows of two accumulative steps by the paper's equation 2, `first o second + second`.

    With `T = id + flow`, the result is `T_first(T_second(p))`: an image warped by `first` and then by `second` equals
    the image warped once by the result.

    Args:
        first: `[B, 3, L, P, S]`, on the whole grid.
        second: `[B, 3, L', P', S']`, on the whole grid or a part of it.
        origin: the voxel of the whole grid at which the part begins.
    """
    return warp(first, second, padding="border", origin=origin).add_(second)


def compose_all(flows: Sequence[Tensor], origin: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """Compose phi1, phi2, ... to the phi of equation 2: `T1(T2(T3(p)))`.

    The composition starts with the last step, which interpolates each flow once; starting with the first step would
    interpolate phi1 o phi2 once more.

    Args:
        flows: `[B, 3, L, P, S]` each, on one grid. The last one may cover a part of the grid only; the result then
            covers that part.
        origin: the voxel of the whole grid at which that part begins.
    """
    *earlier, total = flows
    for flow in reversed(earlier):
        total = compose(flow, total, origin)
    return total


def values_at(image: Tensor, voxels: Tensor) -> Tensor:
    """Return the values of `[1, C, L, P, S]` at some voxels `[3, N]` of whole numbers: `[1, C, N]`."""
    # By the number of the voxel in a matrix `[C, L * P * S]`, which takes a third of the time of three indices.
    numbers = (voxels[0] * image.shape[3] + voxels[1]) * image.shape[4] + voxels[2]
    return image[0].flatten(1).index_select(1, numbers)[None]


def compose_all_at(flows: Sequence[Tensor], voxels: Tensor) -> Tensor:
    """Compose flows as `compose_all` does, at some voxels only.

    Args:
        flows: `[1, 3, L, P, S]` each, on one grid.
        voxels: `[3, N]`, whole numbers.

    Returns:
        `[1, 3, N]`.
    """
    *earlier, last = flows
    total = values_at(last, voxels)
    for flow in reversed(earlier):
        places = (voxels + total)[0].view(3, 1, -1, 1, 1).unbind()
        total = total + sample(flow, places, "border").flatten(2)
    return total


def downsample_image(image: Tensor, voxel_mm: int) -> Tensor:
    """Average an image of 1 mm voxels over blocks, and pad it with zeros to sides that are multiples of 16.

    Args:
        image: `[B, C, L, P, S]`, its sides multiples of `voxel_mm`.
        voxel_mm: side of the new voxels, mm.
    """
    if voxel_mm > 1:
        image = F.avg_pool3d(image, voxel_mm)
    return F.pad(image, [side for n in reversed(image.shape[2:]) for side in (0, -n % 16)])


def upsample_flow(flow: Tensor, voxel_mm: int, size: Sequence[int]) -> Tensor:
    """Resample a flow found on the grid of `downsample_image` to the full grid, and convert it to voxels of 1 mm.

    Args:
        flow: `[B, 3, l, p, s]`, the padding of `downsample_image` included.
        voxel_mm: side of its voxels, mm.
        size: the full `(L, P, S)`.
    """
    if voxel_mm == 1:
        return flow
    length, depth, height = (n // voxel_mm for n in size)
    inner = flow[:, :, :length, :depth, :height]
    # The mean of a block belongs to its middle, between voxel centres, which is what align_corners=False assumes.
    return F.interpolate(inner, size=tuple(size), mode="trilinear", align_corners=False) * voxel_mm

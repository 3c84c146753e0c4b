"""Sample images at voxel coordinates by trilinear interpolation, as torch does it and, on the CPU, faster."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SLAB = 16  # planes along L that are computed at a time; their coordinates take three times an image's memory


def coordinates(flow: Tensor, origin: tuple[int, int, int]) -> list[Tensor]:
    """Return where the voxels of a flow are sampled, along L, P and S: each voxel's own place and the flow there.

    Args:
        flow: `[B, 3, L, P, S]`, voxels.
        origin: the voxel of the image's grid at which the flow's first voxel lies.
    """
    return [
        flow[:, axis]
        + torch.arange(first, first + length, dtype=flow.dtype, device=flow.device).view(-1, *[1] * (2 - axis))
        for axis, (first, length) in enumerate(zip(origin, flow.shape[2:], strict=True))
    ]


def sample(image: Tensor, places: Sequence[Tensor], padding: str, mode: str = "bilinear") -> Tensor:
    """Sample an image at voxel coordinates; differentiable in both.

    Args:
        image: `[B, C, L, P, S]`.
        places: voxel coordinates along L, P and S, each `[B, l, p, s]`; they are overwritten.
        padding: values outside the image: "zeros", or "border" for those of its outermost voxels.
        mode: "bilinear" (trilinear in 3-D) or "nearest".

    Returns:
        `[B, C, l, p, s]`.
    """
    # For grid_sample -1 and 1 are the centres of the first and the last voxel, and the last axis comes first.
    scaled = [c.mul_(2 / max(n - 1, 1)).sub_(1) for c, n in zip(places, image.shape[2:], strict=True)]
    points = torch.stack(scaled[::-1], -1)
    batch, *size = points.shape[:-1]
    if batch > 1 or points.device.type != "cpu":
        return F.grid_sample(image, points, mode=mode, padding_mode=padding, align_corners=True)
    # grid_sample on the CPU runs one thread per batch item, so rows of voxels are passed as a batch.
    rows = size[0] * size[1]
    parts = max(n for n in range(1, torch.get_num_threads() + 1) if rows % n == 0)
    points = points.view(parts, rows // parts, 1, -1, 3)
    images = image.expand(parts, -1, -1, -1, -1)
    values = F.grid_sample(images, points, mode=mode, padding_mode=padding, align_corners=True)
    return values.transpose(0, 1).reshape(1, image.shape[1], *size)


def warp_by_planes(image: Tensor, flow: Tensor, padding: str, origin: tuple[int, int, int]) -> Tensor:
    """Warp an image on the CPU, without gradients, by interpolating in two neighbouring planes and then between them.

    torch's sampling of planes uses the processor's vectors, and that of volumes does not, so this takes less than half
    of the time. All planes are one tall image to it, whose rows are counted in float32. So coordinates along P are
    rounded, by .001 voxels at most where a slab of the flow reaches over 36 planes of 192 rows, by .003 over 90.

    Args:
        image: `[1, C, L, P, S]`.
        flow: `[1, 3, L', P', S']`, voxels of the image's grid.
        padding, origin: as `warp.warp` takes them.

    Returns:
        `[1, C, L', P', S']`.
    """
    warped = image.new_empty(1, image.shape[1], *flow.shape[2:])
    first, last = _planes_reached(flow, origin[0], image.shape[2])
    planes = Planes(image[:, :, first : last + 1], zeros=padding == "zeros")
    for start in range(0, flow.shape[2], SLAB):
        part, its_origin = flow[:, :, start : start + SLAB], (origin[0] + start - first, *origin[1:])
        places = [axis[0] for axis in coordinates(part, its_origin)]
        warped[0, :, start : start + SLAB] = planes.at(*places)
    return warped


def _planes_reached(flow: Tensor, origin: int, length: int) -> tuple[int, int]:
    """Return the first and the last plane of an image of `length` planes that a part of a flow may read.

    Where a displacement is no number, these are the image's own.
    """
    lowest, highest = flow[:, 0].aminmax()
    ends = torch.stack([lowest.floor() + origin, highest.floor() + (origin + flow.shape[2])])
    first, last = ends.nan_to_num(0).clamp(0, length - 1).int().tolist()
    return (first, last) if ends.isfinite().all() else (0, length - 1)


class Planes:
    """An image that is sampled by interpolating in two neighbouring planes and then between them, on the CPU.

    It is padded once. Outside of it lie zeros, or the values of its outermost voxels.

    Args:
        image: `[1, C, L, P, S]`, whose planes are `[P, S]`.
        zeros: whether zeros lie outside.
    """

    def __init__(self, image: Tensor, *, zeros: bool) -> None:
        self.length = image.shape[2]
        self.beyond = 1 if zeros else 0  # planes outside, where an image has fallen to zero
        # The two outermost rows of a plane are alike. What lies further outside is sampled half-way between them, where
        # rounding reaches neither the image nor the next plane.
        self.image = F.pad(image, [1, 1, 2, 2, 1, 1]) if zeros else F.pad(image, [0, 0, 1, 1, 0, 0], mode="replicate")

    def at(self, planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Sample the image at voxel coordinates along L, P and S, each `[l, p, s]`, which are overwritten.

        Returns:
            `[C, l, p, s]`.
        """
        planes.clamp_(-self.beyond, self.length - 1 + self.beyond)
        below = planes.floor().clamp_(max=max(self.length - 2 + self.beyond, 0))
        share = planes.sub_(below)
        # Where a coordinate is no number, neither is the value; all planes are looked at.
        lowest, highest = below.aminmax()
        first, last = int(lowest.nan_to_num(0)), int(highest.nan_to_num(self.length - 2)) + 1
        part = self.image[:, :, first + self.beyond : last + self.beyond + 1]
        rows.add_(1 + self.beyond)
        columns.add_(self.beyond)
        height, width = part.shape[3:]
        rows.clamp_(0.5, height - 1.5)
        tall = part.view(1, part.shape[1], -1, width)
        # For grid_sample -1 and 1 are the centres of the first and the last voxel, and the last axis comes first.
        to_one = [2 / max(n - 1, 1) for n in (width, tall.shape[2])]
        points = torch.empty(*planes.shape, 2, dtype=planes.dtype)
        torch.sub(columns.mul_(to_one[0]), 1, out=points[..., 0])
        torch.sub(below.sub_(first).mul_(height).add_(rows).mul_(to_one[1]), 1, out=points[..., 1])
        talls = tall.expand(len(points), -1, -1, -1)  # grid_sample runs one thread per batch item
        lower = F.grid_sample(talls, points, padding_mode="border", align_corners=True)
        points[..., 1] += height * to_one[1]
        upper = F.grid_sample(talls, points, padding_mode="border", align_corners=True)
        return lower.lerp_(upper, share[:, None]).transpose(0, 1)

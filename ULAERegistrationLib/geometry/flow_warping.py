"""Warp a scan through a flow on the canonical grid, in two thirds of the time that ITK takes for it.

The world is LPS millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..flows.sampling import Planes
from ..tensors import array_of, tensor_sharing
from .affine import index_to_world, to_matrix
from .alignment import Alignment
from .brain import box_around
from .canonical import canonical_grid
from .orientation import keep_stored_forms
from .resampling import outside_value, resample
from .transforms import margin_of, padded, total_transform

# Planes and rows of the fixed image that are computed at a time: they stay in a processor's cache, and reach over few
# planes of a moving image that lies at an angle.
SLAB, ROWS = 8, 48
# Rows of all planes that such a part reaches at most: they are counted in float32, and so rounded to .002 voxels.
MOST_ROWS = 1 << 13


def warp_through_flow(moving: sitk.Image, fixed: sitk.Image, flow: np.ndarray, alignment: Alignment) -> sitk.Image:
    """Sample the moving image once, by linear interpolation, through A_m^-1 o (id + flow) o A_f.

    The result is that of `resample` through `total_transform`, up to the rounding of coordinates to .002 voxels. As
    there, the flow fades to zero beyond the canonical grid, and the alignment alone remains farther out. Large scans
    that lie at an angle to each other are sampled by `resample` itself, where the rounding would be more.

    Args:
        moving: the moving image.
        fixed: the fixed image, whose grid the result has.
        flow: float32 [3, L, P, S], voxels of the canonical grid.
        alignment: gives A_f and A_m, the affine maps of both images into the canonical frame.

    Returns:
        Image with the pixel type of `moving` (integers are rounded), outside of it and in its header as that of
        `resample`.
    """
    own = sitk.GetArrayViewFromImage(moving)
    # float32 holds the numbers of 16 bits to a hundredth.
    kind = np.float32 if own.dtype.itemsize <= 2 or own.dtype == np.float32 else np.float64
    outside = outside_value(moving)
    shown = box_around(own != outside, 1)  # beyond it, whatever is sampled is `outside`
    size = [part.stop - part.start for part in shown[::-1]]
    margin = margin_of(flow)
    from_grid = index_to_world(canonical_grid())
    from_grid[:3, 3] -= from_grid[:3, :3].sum(axis=1) * margin  # of the padded grid
    to_grid = np.linalg.inv(from_grid) @ to_matrix(alignment.fixed_to_canonical) @ index_to_world(fixed)
    to_moving = np.linalg.inv(index_to_world(moving)) @ to_matrix(alignment.moving_to_canonical.GetInverse())
    to_moving = to_moving @ from_grid
    to_moving[:3, 3] -= [part.start for part in shown[::-1]]
    of_field = _rows_reached(to_grid, flow.shape[1:], fixed)
    of_moving = _rows_reached(to_moving @ to_grid, size, fixed)
    if max(of_field, of_moving) > MOST_ROWS:
        return resample(moving, fixed, total_transform(flow, alignment))
    # Displacements in voxels of the moving image are added to where the alignment alone leads.
    shifts = np.tensordot(to_moving[:3, :3].astype(np.float32), padded(flow, margin), axes=1).transpose(0, 3, 2, 1)
    field = _Sampled(shifts.astype(kind, copy=False), to_grid, zeros=True)
    del shifts  # which are large, as are the values below
    # What lies outside is taken off before and added afterwards, so that rounding leaves it as it is.
    values = own[shown][None].astype(kind)
    values -= kind(outside)
    image = _Sampled(values, to_moving @ to_grid, zeros=False)
    del values

    columns, rows, planes = fixed.GetSize()
    warped = np.empty((planes, rows, columns), own.dtype)
    for plane, row in product(range(0, planes, SLAB), range(0, rows, ROWS)):
        part = (plane, min(plane + SLAB, planes)), (row, min(row + ROWS, rows)), (0, columns)
        places = image.places(*part)
        for place, shift in zip(places, field.at(field.places(*part)), strict=True):
            place.add_(shift)
        beyond = image.is_beyond(places)
        found = image.at(places)[0].masked_fill_(beyond, 0).add_(outside)
        warped[plane : plane + SLAB, row : row + ROWS] = array_of(found if own.dtype.kind == "f" else found.round_())
    result = sitk.GetImageFromArray(warped)
    result.CopyInformation(fixed)
    return keep_stored_forms(fixed, result)


def _order(matrix: np.ndarray) -> tuple[int, int, int]:
    """Return the axis along which the planes of another grid follow each other, as x, y, z; then the other two.

    Args:
        matrix: 4 x 4, from voxels of the other grid (x, y, z).
    """
    lead = int(np.abs(matrix[:3, 2]).argmax())
    rows, columns = (axis for axis in (2, 1, 0) if axis != lead)
    return lead, rows, columns


def _rows_reached(matrix: np.ndarray, size: Sequence[int], fixed: sitk.Image) -> float:
    """Return how many rows of an image of this size, in all planes, a part of the fixed image reaches over."""
    lead, rows, _ = _order(matrix)
    return float(np.abs(matrix[lead, :3]) @ (fixed.GetSize()[0], ROWS, SLAB)) * size[rows]


class _Sampled:
    """An image that is sampled part by part of another grid.

    Args:
        values: [channel, z, y, x], float32 or float64.
        matrix: 4 x 4, from voxels of the other grid (x, y, z) to voxels of this image.
        zeros: whether zeros lie outside of it; else the values of its outermost voxels.
    """

    def __init__(self, values: np.ndarray, matrix: np.ndarray, *, zeros: bool) -> None:
        self.size = values.shape[:0:-1]
        self.matrix = matrix
        self.order = _order(matrix)
        values = np.ascontiguousarray(values.transpose(0, *(3 - axis for axis in self.order)))
        self.image = Planes(tensor_sharing(values)[None], zeros=zeros)
        self.kind = self.image.image.dtype

    def places(self, *part: tuple[int, int]) -> list[Tensor]:
        """Return the voxel coordinates x, y, z of this image, each [z, y, x], for a part of the other grid.

        Args:
            part: first and last voxel, which is left out, along z, y and x.
        """
        z, y, x = (torch.arange(first, last, dtype=self.kind) for first, last in part)
        return [
            row[2] * z.view(-1, 1, 1) + (row[1] * y.view(-1, 1) + row[0] * x + row[3])
            for row in self.matrix[:3].tolist()
        ]

    def is_beyond(self, places: list[Tensor]) -> Tensor:
        """Tell which places lie outside of the image, half a voxel from its outermost voxels, as ITK takes it."""
        beyond = torch.zeros_like(places[0], dtype=torch.bool)
        for place, length in zip(places, self.size, strict=True):
            beyond |= (place < -0.5) | (place >= length - 0.5)
        return beyond

    def at(self, places: list[Tensor]) -> Tensor:
        """Sample the image at places, which are overwritten: [channel, z, y, x]."""
        return self.image.at(*(places[axis] for axis in self.order))

"""Warp a scan through a flow on the canonical grid, in half of the time that ITK takes for it.

The world is LPS millimetres.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..flows.sampling import between_planes
from ..tensors import array_of, tensor_of, tensor_sharing
from .affine import index_to_world, to_matrix
from .alignment import Alignment
from .canonical import canonical_grid
from .orientation import keep_stored_forms
from .resampling import outside_value
from .transforms import margin_of, padded

SLAB = 4  # planes of the fixed image that are computed at a time, so that they stay in a processor's cache


def warp_through_flow(moving: sitk.Image, fixed: sitk.Image, flow: np.ndarray, alignment: Alignment) -> sitk.Image:
    """Sample the moving image once, by linear interpolation, through A_m^-1 o (id + flow) o A_f.

    The result is that of `resample` through `total_transform`, up to the rounding of coordinates to a thousandth of a
    voxel. As there, the flow fades to zero beyond the canonical grid, and the alignment alone remains farther out.

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
    margin = margin_of(flow)
    from_grid = index_to_world(canonical_grid())
    from_grid[:3, 3] -= from_grid[:3, :3].sum(axis=1) * margin  # of the padded grid
    to_grid = np.linalg.inv(from_grid) @ to_matrix(alignment.fixed_to_canonical) @ index_to_world(fixed)
    to_moving = np.linalg.inv(index_to_world(moving)) @ to_matrix(alignment.moving_to_canonical.GetInverse())
    to_moving = to_moving @ from_grid
    # Displacements in voxels of the moving image are added to where the alignment alone leads.
    shifts = np.tensordot(to_moving[:3, :3].astype(np.float32), padded(flow, margin), axes=1).transpose(0, 3, 2, 1)
    field, image = _Sampled(shifts.astype(kind), to_grid), _Sampled(own[None].astype(kind), to_moving @ to_grid)

    outside = outside_value(moving)
    size = fixed.GetSize()
    warped = np.empty(size[::-1], own.dtype)
    for first in range(0, size[2], SLAB):
        slab = slice(first, min(first + SLAB, size[2]))
        places = image.places(slab, size)
        moved = field.at(field.places(slab, size), zeros=True)
        for place, shift in zip(places, moved, strict=True):
            place.add_(shift)
        beyond = image.is_beyond(places)
        found = image.at(places, zeros=False)[0].masked_fill_(beyond, outside)
        warped[slab] = array_of(found if own.dtype.kind == "f" else found.round_())
    result = sitk.GetImageFromArray(warped)
    result.CopyInformation(fixed)
    return keep_stored_forms(fixed, result)


class _Sampled:
    """An image that is sampled slab by slab of another grid.

    Args:
        values: [channel, z, y, x].
        matrix: 4 x 4, from voxels of the other grid (x, y, z) to voxels of this image.
    """

    def __init__(self, values: np.ndarray, matrix: np.ndarray) -> None:
        self.size = values.shape[:0:-1]
        self.matrix = matrix
        # The axis along which neighbouring slabs lie, as x, y, z; then the other two.
        lead = int(np.abs(matrix[:3, 2]).argmax())
        self.order = (lead, *(axis for axis in (2, 1, 0) if axis != lead))
        values = np.ascontiguousarray(values.transpose(0, *(3 - axis for axis in self.order)))
        self.image = (tensor_sharing if values.dtype == np.float32 else tensor_of)(values)[None]

    def places(self, slab: slice, size: tuple[int, ...]) -> list[Tensor]:
        """Return the voxel coordinates x, y, z of this image, each [z, y, x], for a slab of the other grid."""
        x, y, z = (
            torch.arange(start, stop, dtype=self.image.dtype)
            for start, stop in ((0, size[0]), (0, size[1]), (slab.start, slab.stop))
        )
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

    def at(self, places: list[Tensor], *, zeros: bool) -> Tensor:
        """Sample the image at places, which are overwritten: [channel, z, y, x]."""
        return between_planes(self.image, *(places[axis] for axis in self.order), zeros=zeros)

"""Invert a transform, and measure the error of the inverse.

All transforms are pull-backs in LPS millimetres.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..flows.inverse import invert_flow, invert_flow_around, sample_at
from ..tensors import array_of, tensor_of, tensor_sharing
from .affine import fitted_affine, inverse_of_linear, to_matrix, voxel_centres
from .alignment import Alignment
from .frame import CANONICAL_ORIGIN
from .transforms import chain_of, margin_of, padded, parts_of, spline_field

COARSEST_MM = 1.5  # a field is linear between its voxels, and its inverse is not
POINTS = 5000  # about how many an inverse is measured at, and less than twice as many
STILL_MM = 1e-3  # a displacement that counts as none


def inverse(transform: sitk.Transform) -> sitk.Transform:
    """Compute the inverse of a transform, from moving to fixed.

    A chain is inverted part by part, from its end. A displacement field that is zero at its border, as that of a
    registration, is inverted by `invert_flow` on its own grid, refined to voxels of `COARSEST_MM` mm at most, beyond
    which it is zero. Any other field moves its own grid elsewhere, so it is split into the affine transform that fits
    it best and the rest, which is inverted likewise. A B-spline is sampled over its domain as such a field.

    Args:
        transform: a displacement field, a B-spline, a linear transform, or a composite transform of such parts, fixed
            world to moving world (LPS mm).

    Returns:
        Transform from moving world to fixed world (LPS mm).

    Raises:
        RegistrationError: for a transform, or a part of one, that is linear and has no inverse.
    """
    parts = [part for whole in parts_of(transform) for part in _split(whole)]
    return chain_of([_inverse_of_part(part) for part in reversed(parts)])


def inverse_error(flow: np.ndarray, alignment: Alignment, mask: sitk.Image) -> np.ndarray:
    """Compute the distance between points and their images under the inverse of the whole map followed by the map.

    The inverse is that of `inverse`, computed around the points alone.

    Args:
        flow: the composition of the steps (equation 2), float32 [3, L, P, S], voxels of the canonical grid.
        alignment: gives A_f and A_m, the affine maps of both images into the canonical frame.
        mask: on the moving image; points are taken evenly from its non-zero voxels.

    Returns:
        |T(T^-1(p)) - p| for each point, mm of the moving world.
    """
    values = sitk.GetArrayViewFromImage(mask)
    inside = np.flatnonzero(values)
    voxels = np.unravel_index(inside[:: max(1, len(inside) // POINTS)], values.shape)
    there = [mask.TransformIndexToPhysicalPoint(voxel) for voxel in np.transpose(voxels)[:, ::-1].tolist()]
    to_canonical = to_matrix(alignment.moving_to_canonical)
    canonical = np.array(there) @ to_canonical[:3, :3].T + to_canonical[:3, 3]
    margin = margin_of(flow)
    places = tensor_of((canonical - CANONICAL_ORIGIN + margin).T.astype(np.float32))[None]
    field = tensor_sharing(padded(flow, margin))[None]
    back = invert_flow_around(field, places)
    apart = array_of((sample_at(field, places + back) + back)[0])
    return np.linalg.norm(np.linalg.inv(to_canonical[:3, :3]) @ apart, axis=0)


def _split(part: sitk.Transform) -> list[sitk.Transform]:
    """Divide a part of a chain into linear transforms and fields that can be inverted on their own grid."""
    if isinstance(part, sitk.BSplineTransform):
        part = sitk.DisplacementFieldTransform(spline_field(part))
    if isinstance(part, sitk.DisplacementFieldTransform) and not _is_zero_at_its_border(part):
        return _affine_and_rest(part.GetDisplacementField())
    return [part]


def _is_zero_at_its_border(transform: sitk.DisplacementFieldTransform) -> bool:
    vectors = sitk.GetArrayViewFromImage(transform.GetDisplacementField())
    return all(np.abs(vectors.take(end, axis)).max() < STILL_MM for axis in range(3) for end in (0, -1))


def _inverse_of_part(part: sitk.Transform) -> sitk.Transform:
    if isinstance(part, sitk.DisplacementFieldTransform):
        return _inverse_of_field(part.GetDisplacementField())
    return inverse_of_linear(part)


def _inverse_of_field(field: sitk.Image) -> sitk.DisplacementFieldTransform:
    """Invert the map p + field(p) on the field's own grid, refined where that is coarse."""
    field = _refined(field)
    to_mm = np.reshape(field.GetDirection(), (3, 3)) * field.GetSpacing()
    vectors = sitk.GetArrayViewFromImage(field).transpose(3, 2, 1, 0).astype(np.float32, order="C")
    flow = tensor_of(_times(np.linalg.inv(to_mm), vectors))[None]  # voxels
    del vectors  # the arrays of a field are large
    found = array_of(invert_flow(flow)[0])
    del flow
    return sitk.DisplacementFieldTransform(_image(_times(to_mm, found).transpose(3, 2, 1, 0), field))


def _refined(field: sitk.Image) -> sitk.Image:
    """Divide the voxels of a field to `COARSEST_MM` mm at most; in between it is linear."""
    parts = np.ceil(np.array(field.GetSpacing()) / COARSEST_MM).astype(int)
    if parts.max() == 1:
        return field
    size = (np.array(field.GetSize()) - 1) * parts + 1
    spacing = np.array(field.GetSpacing()) / parts
    return sitk.Resample(
        field,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkLinear,
        field.GetOrigin(),
        spacing.tolist(),
        field.GetDirection(),
    )


def _times(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Multiply a 3 x 3 matrix with all vectors of `[3, L, P, S]`; those of the unit matrix are not copied."""
    if np.array_equal(matrix, np.eye(3)):
        return vectors
    return np.tensordot(matrix.astype(vectors.dtype), vectors, 1)


def _affine_and_rest(field: sitk.Image) -> list[sitk.Transform]:
    """Write the map p + field(p) as A o (id + rest), with the affine transform that fits it best: A, and the rest.

    The rest goes on beyond the grid, so that what it moves across the border is found again.
    """
    affine, points = fitted_affine(field), voxel_centres(field)
    back = to_matrix(inverse_of_linear(affine))
    reached = (points + sitk.GetArrayViewFromImage(field)) @ back[:3, :3].T + back[:3, 3]
    return [affine, sitk.DisplacementFieldTransform(_continued(_image(reached - points, field)))]


def _continued(field: sitk.Image) -> sitk.Image:
    """Continue a field beyond its grid as it is at the border, as far as it reaches, a quarter of each side at most."""
    to_voxels = np.linalg.inv(np.reshape(field.GetDirection(), (3, 3)) * field.GetSpacing())
    reach = np.abs(sitk.GetArrayViewFromImage(field).reshape(-1, 3) @ to_voxels.T).max(axis=0)
    added = np.minimum(np.ceil(reach) + 1, np.array(field.GetSize()) // 4).astype(int).tolist()
    return sitk.ZeroFluxNeumannPad(field, added, added)


def _image(vectors: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Convert displacements [z, y, x, 3] in mm to a vector image on a grid; ITK's transforms take float64."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    image.CopyInformation(grid)
    return sitk.Cast(image, sitk.sitkVectorFloat64)

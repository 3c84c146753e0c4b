"""Convert flows in voxels of the canonical grid to transforms in the world (LPS mm).

All transforms here are pull-backs, as ITK's are: they map a point of the fixed image to the point of the moving image
whose intensity is shown there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .alignment import Alignment
from .canonical import canonical_grid

# A flow fades to zero beyond the canonical grid, over this many voxels at least, and so slowly that it loses at most
# this many voxels of displacement per voxel: where it loses more than 1, the map folds.
LEAST_MARGIN, STEEPEST = 8, 0.7
# Over the first voxels it fades ever faster: at a corner of the grid it would fade along three axes at once otherwise.
GENTLE = 4


def flow_transform(flow: np.ndarray, every: int = 1) -> sitk.DisplacementFieldTransform:
    """Convert a flow to the transform T = id + flow of canonical world points (LPS mm).

    Beyond the grid the flow fades to zero within `margin_of` it, so that the transform is continuous and does not fold
    where the fixed image extends beyond the canonical grid; farther out it is the identity.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
        every: keeps each n-th voxel along each axis; the transform interpolates between them.
    """
    grid = canonical_grid()
    if flow.shape != (3, *grid.GetSize()):
        raise ValueError(f"flow has shape {flow.shape}, not {(3, *grid.GetSize())}")
    margin = margin_of(flow)
    values = np.ascontiguousarray(padded(flow, margin, every).transpose(3, 2, 1, 0))
    field = sitk.GetImageFromArray(values, isVector=True)
    del values  # as `field_transform` needs twice as much memory again
    field.SetOrigin(grid.TransformIndexToPhysicalPoint([-margin] * 3))
    field.SetSpacing([float(every)] * 3)
    return field_transform(field)


def step_transform(flow: np.ndarray, alignment: Alignment, every: int = 1) -> sitk.CompositeTransform:
    """Return one step in the fixed image's world, A_f^-1 o T o A_f, as a composite transform.

    Args:
        flow: float32 [3, L, P, S], voxels of the canonical grid.
        alignment: gives A_f, the map of the fixed image into the canonical frame.
        every: keeps each n-th voxel of the flow along each axis, to look at it without its full size.

    Returns:
        Transform from fixed world to fixed world (LPS mm).
    """
    to_canonical = alignment.fixed_to_canonical
    return sitk.CompositeTransform([to_canonical.GetInverse(), flow_transform(flow, every), to_canonical])


def total_transform(flow: np.ndarray, alignment: Alignment) -> sitk.CompositeTransform:
    """Return the whole map, A_m^-1 o T o A_f, as a composite transform of three parts.

    Beyond the canonical grid the affine part alone remains, so the map is sensible anywhere in the world. It equals
    A_m^-1 o A_f followed by the steps in world form (`step_transform`), because the affine maps between them cancel.

    Args:
        flow: the composition of the steps (equation 2), float32 [3, L, P, S], voxels of the canonical grid.
        alignment: gives A_f and A_m, the affine maps of both images into the canonical frame.

    Returns:
        Transform from fixed world to moving world (LPS mm).
    """
    out_of_canonical = alignment.moving_to_canonical.GetInverse()
    return sitk.CompositeTransform([out_of_canonical, flow_transform(flow), alignment.fixed_to_canonical])


def parts_of(transform: sitk.Transform) -> list[sitk.Transform]:
    """Divide a transform into the parts of its chain, each in its own class; the last one is applied first.

    A chain may hold others, and one of no parts is the identity.
    """
    found = _without_chains(transform)
    return found or [sitk.AffineTransform(3)]


def _without_chains(transform: sitk.Transform) -> list[sitk.Transform]:
    transform = transform.Downcast()
    if not isinstance(transform, sitk.CompositeTransform):
        return [transform]
    parts = [transform.GetNthTransform(number) for number in range(transform.GetNumberOfTransforms())]
    return [part for whole in parts for part in _without_chains(whole)]


def chain_of(parts: Sequence[sitk.Transform]) -> sitk.Transform:
    """Make one transform of the parts of a chain, the last of which is applied first; one part is returned itself."""
    return parts[0] if len(parts) == 1 else sitk.CompositeTransform(list(parts))


def displacement_field(transform: sitk.Transform, fixed: sitk.Image, spacing: float = 1.0) -> sitk.Image:
    """Sample any transform as one displacement field over the whole fixed image, for formats that hold nothing else.

    The field is exact at the voxels of the fixed image, or at every n-th of them where they are finer than the samples,
    and linear in between.

    Args:
        transform: from fixed world (LPS mm).
        fixed: the image whose field of view is covered and along whose axes the field is sampled.
        spacing: of the samples, as `covering_grid` takes it, mm.

    Returns:
        Vector image of float32, displacements in LPS mm.
    """
    grid = covering_grid(fixed, spacing)
    return sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    )


def field_transform(field: sitk.Image) -> sitk.DisplacementFieldTransform:
    """Make a transform of a displacement field (LPS mm), which is copied; beyond its grid the map is the identity."""
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def spline_field(spline: sitk.BSplineTransform, spacing: float = 1.0) -> sitk.Image:
    """Sample a B-spline over its own domain, beyond which it moves nothing, as a field does beyond its grid.

    Args:
        spline: from any world (LPS mm).
        spacing: of the samples at most, mm; the outermost ones lie half of it within the domain.

    Returns:
        Vector image of float64, displacements in LPS mm.
    """
    sides = np.array(spline.GetTransformDomainPhysicalDimensions())
    size = np.maximum(2, np.ceil(sides / spacing)).astype(int)
    direction = spline.GetTransformDomainDirection()
    origin = spline.GetTransformDomainOrigin() + np.reshape(direction, (3, 3)) @ (sides / size / 2)
    return sitk.TransformToDisplacementField(
        spline, sitk.sitkVectorFloat64, size.tolist(), origin.tolist(), (sides / size).tolist(), direction
    )


def covering_grid(image: sitk.Image, spacing: float = 1.0, margin: float = 5.0) -> sitk.Image:
    """Create an empty image with the axes of `image` that covers its voxels and a margin.

    Its samples coincide with voxels of the image (all of them or every n-th), so that a field sampled on it is exact
    at these voxels and interpolated only in between.

    Args:
        image: the image to cover.
        spacing: of the samples, mm; along each axis the nearest multiple or whole fraction of the image's own is taken.
        margin: minimum extent beyond the image's outermost voxel centres, mm.

    Returns:
        uint8 image of zeros.
    """
    own = np.array(image.GetSpacing())
    multiple, parts = np.maximum(1, np.rint(spacing / own)), np.maximum(1, np.rint(own / spacing))
    steps = own * multiple / parts
    before = np.ceil(margin / steps)
    size = before + np.ceil(((np.array(image.GetSize()) - 1) * own + margin) / steps - 1e-6) + 1
    grid = sitk.Image(size.astype(int).tolist(), sitk.sitkUInt8)
    grid.SetDirection(image.GetDirection())
    grid.SetSpacing(steps.tolist())
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOrigin((np.array(image.GetOrigin()) - direction @ (before * steps)).tolist())
    return grid


def margin_of(flow: np.ndarray) -> int:
    """Return the width, in voxels, over which a flow [3, L, P, S] fades beyond its grid: an even number."""
    faces = (flow.take(end, axis) for axis in (1, 2, 3) for end in (0, -1))
    largest = max(float(np.linalg.norm(face, axis=0).max()) for face in faces)
    return max(LEAST_MARGIN, 2 * int(np.ceil((largest / STEEPEST + GENTLE / 2) / 2)))


def padded(flow: np.ndarray, margin: int, every: int = 1) -> np.ndarray:
    """Extrapolate a flow [3, L, P, S] on every side, by its value at the border, which fades to zero with the distance.

    Args:
        flow: float32, of any grid.
        margin: voxels that are added on every side, over which the flow fades.
        every: keeps each n-th voxel of the result along each axis, from the first one; the last one is zero.
    """
    left, posterior, superior = far = [_distances(length, margin, every) for length in flow.shape[1:]]
    sides = [(margin, int(distances[-1])) for distances in far]
    values = np.pad(flow, [(0, 0), *sides], mode="edge")[:, ::every, ::every, ::every]
    # Slices that are equally far off fade alike, and most of them lie within the grid.
    off, number = np.unique(left, return_inverse=True)
    fades = _fade(np.sqrt(off[:, None, None] ** 2 + posterior[:, None] ** 2 + superior**2), margin)
    for index, which in enumerate(number):
        values[:, index] *= fades[which]
    return values


def _fade(distance: np.ndarray, margin: int) -> np.ndarray:
    """Return the share of a flow that is left at a distance (voxels) from its grid: 1 there, 0 from `margin` on."""
    lost = np.where(distance < GENTLE, distance**2 / (2 * GENTLE), distance - GENTLE / 2)
    return (1 - lost / (margin - GENTLE / 2)).clip(0)


def _distances(length: int, margin: int, every: int) -> np.ndarray:
    """Return how far each voxel of a padded axis lies from the axis itself, float32."""
    places = np.arange(-margin, length - 1 + margin + every, every)
    return np.abs(places - places.clip(0, length - 1)).astype(np.float32)

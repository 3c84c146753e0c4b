"""Invert a transform, and measure the error of the inverse.

All transforms are pull-backs in LPS millimetres.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from .transforms import _direction, covering_grid

RELAXATION = 0.35  # of each fixed-point step: full steps oscillate where the residual does not contract


def inverse(transform: sitk.Transform, moving: sitk.Image, spacing: float = 1.0, margin: float = 5.0) -> sitk.Transform:
    """Compute the inverse of a transform, from moving to fixed.

    With T = A + r, A affine, the point x that T maps to y is the fixed point of x = A^-1 (y - r(x)) (Chen et al., Med
    Phys 2008). The iteration is relaxed, so that it converges also where r does not contract, as long as the map does
    not fold. It starts on a coarse grid and continues on finer ones. Outside the field r is taken as zero.

    Args:
        transform: a displacement field or a linear transform, fixed world to moving world (LPS mm).
        moving: the image over whose field of view the inverse is sampled.
        spacing: of the samples, as `covering_grid` takes it, mm.
        margin: how far the samples reach beyond the moving image, mm.

    Returns:
        Transform from moving world to fixed world (LPS mm); `inverse_error` measures its error.

    Raises:
        RegistrationError: for a transform that is neither a displacement field nor linear.
    """
    transform = transform.Downcast()
    if transform.IsLinear():
        return transform.GetInverse()
    if not isinstance(transform, sitk.DisplacementFieldTransform):
        raise RegistrationError("The transform is no displacement field, so it cannot be inverted; store it as one.")
    field = transform.GetDisplacementField()
    affine = _fitted_affine(field)
    residual = _image(sitk.GetArrayViewFromImage(field) - _affine_displacement(affine, field), field)
    back = affine.GetInverse()
    pull = -_matrix(back).T.astype(np.float32)
    correction = None  # x - A^-1 y, as a vector image
    for coarser, passes in ((4, 24), (2, 16), (1, 5)):
        grid = covering_grid(moving, coarser * spacing, margin)
        start = _affine_displacement(back, grid)
        displacement = start
        if correction is not None:
            displacement = start + sitk.GetArrayFromImage(_sampled(correction, grid, sitk.Transform()))
        for _ in range(passes):
            at_x = _sampled(residual, grid, _field_transform(displacement, grid))
            found = start + sitk.GetArrayViewFromImage(at_x) @ pull
            displacement = displacement + RELAXATION * (found - displacement)
        correction = _image(displacement - start, grid)
    return _field_transform(displacement, grid)


def inverse_error(transform: sitk.Transform, back: sitk.Transform, mask: sitk.Image, points: int = 5000) -> np.ndarray:
    """Compute the distance between points and their images under `back` followed by `transform`.

    Args:
        transform: fixed -> moving (LPS mm).
        back: moving -> fixed (LPS mm).
        mask: on the moving image; points are taken evenly from its non-zero voxels.
        points: about how many points, less than twice as many at most.

    Returns:
        |T(T^-1(p)) - p| for each point, mm.
    """
    voxels = np.argwhere(sitk.GetArrayViewFromImage(mask) != 0)[:, ::-1]
    voxels = voxels[:: max(1, len(voxels) // points)]
    there = [mask.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels]
    and_back = [transform.TransformPoint(back.TransformPoint(point)) for point in there]
    return np.linalg.norm(np.subtract(and_back, there), axis=1)


def _fitted_affine(field: sitk.Image) -> sitk.AffineTransform:
    """Fit an affine transform to a displacement field, by least squares over about 32 voxels along each axis."""
    steps = [max(1, size // 32) for size in field.GetSize()]
    coarse = field[:: steps[0], :: steps[1], :: steps[2]]
    points = _points(coarse).reshape(-1, 3)
    targets = points + sitk.GetArrayViewFromImage(coarse).reshape(-1, 3)
    centre = points.mean(axis=0)
    design = np.column_stack([points - centre, np.ones(len(points))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(solution[:3].T.ravel())
    affine.SetTranslation((solution[3] - solution[:3].T @ centre).tolist())
    return affine


def _affine_displacement(affine: sitk.Transform, grid: sitk.Image) -> np.ndarray:
    """Compute A(x) - x at the voxels of a grid, float32 [z, y, x, 3], mm."""
    step = _direction(grid) * grid.GetSpacing()
    change = (_matrix(affine) - np.eye(3)) @ step  # mm per voxel
    origin = np.subtract(affine.TransformPoint(grid.GetOrigin()), grid.GetOrigin())
    x, y, z = (np.arange(size) for size in grid.GetSize())
    return (
        (origin + np.outer(x, change[:, 0]))[None, None]
        + np.outer(y, change[:, 1])[None, :, None]
        + np.outer(z, change[:, 2])[:, None, None]
    ).astype(np.float32)


def _points(grid: sitk.Image) -> np.ndarray:
    """Return the world coordinates of the voxels, float64 [z, y, x, 3], mm."""
    step = _direction(grid) * grid.GetSpacing()
    z, y, x = np.indices(grid.GetSize()[::-1])
    return np.stack([x, y, z], axis=-1) @ step.T + grid.GetOrigin()


def _matrix(affine: sitk.Transform) -> np.ndarray:
    """Return the linear part of an affine transform, [3, 3]."""
    return np.array(sitk.AffineTransform(affine).GetMatrix()).reshape(3, 3)


def _image(displacement: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Convert a displacement [z, y, x, 3] to a vector image on a grid."""
    image = sitk.GetImageFromArray(displacement, isVector=True)
    image.CopyInformation(grid)
    return image


def _sampled(field: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """Resample a vector image through a transform, linearly, zero outside."""
    return sitk.Resample(field, grid, transform, sitk.sitkLinear, 0.0, sitk.sitkVectorFloat32)


def _field_transform(displacement: np.ndarray, grid: sitk.Image) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(sitk.Cast(_image(displacement, grid), sitk.sitkVectorFloat64))

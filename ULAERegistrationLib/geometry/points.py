"""Carry points through a transform, and back through its inverse, point by point (LPS mm)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from .affine import fitted_affine, inverse_of_linear, to_matrix, to_transform
from .transforms import parts_of, spline_field

PASSES = 40
ACCURACY = 1e-4  # mm, at which the search for a point's inverse ends
ACCEPTED = 0.05  # mm; a larger error means that the point has no counterpart
SAMPLES = 16  # along the longest side of a B-spline's domain, by which an affine transform is fitted to it
STEP = 0.25  # mm, of the differences that give the transform's derivative


def map_points(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Map points by a transform.

    Args:
        transform: fixed world to moving world (LPS mm).
        points: `[n, 3]`, of the fixed image.

    Returns:
        float64 `[n, 3]`, the corresponding points of the moving image.
    """
    return np.array([transform.TransformPoint(point) for point in np.asarray(points, float).tolist()]).reshape(-1, 3)


def map_points_back(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Map points by the inverse of a transform, which is found for each point by damped Newton steps.

    No inverse field is sampled, so the result is exact to `ACCEPTED` where the transform does not fold.

    Args:
        transform: fixed world to moving world (LPS mm).
        points: `[n, 3]`, of the moving image.

    Returns:
        float64 `[n, 3]`, the points of the fixed image that the transform maps to `points`.

    Raises:
        RegistrationError: where a point has no counterpart, because the transform folds or ends there, or where the
            transform has no inverse at all.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    if transform.IsLinear():
        return map_points(inverse_of_linear(transform), points)
    found = map_points(inverse_of_linear(_linear_part(transform)), points)
    error = points - map_points(transform, found)
    for _ in range(PASSES):
        length = np.linalg.norm(error, axis=1)
        if length.max(initial=0) < ACCURACY:
            break
        slopes = [(map_points(transform, found + h) - map_points(transform, found - h)) for h in STEP * np.eye(3)]
        derivative = np.stack(slopes, axis=-1) / (2 * STEP)
        step = np.einsum("nij,nj->ni", np.linalg.pinv(derivative), error)
        for part in (1.0, 0.5, 0.25, 0.1):
            there = found + part * step
            remaining = points - map_points(transform, there)
            closer = np.linalg.norm(remaining, axis=1) < np.linalg.norm(error, axis=1)
            found[closer], error[closer], step[closer] = there[closer], remaining[closer], 0
    lost = np.flatnonzero(np.linalg.norm(error, axis=1) > ACCEPTED)
    if len(lost):
        numbers = ", ".join(str(number + 1) for number in lost[:10])
        raise RegistrationError(
            f"{len(lost)} of {len(points)} points have no counterpart (number {numbers}), as the transform folds or "
            f"ends there; leave them out."
        )
    return found


def _linear_part(transform: sitk.Transform) -> sitk.AffineTransform:
    """Return an affine transform close to a transform that may be linear, a field, a B-spline, or composed of such."""
    parts = [_fitted(part) for part in parts_of(transform)]
    return to_transform(to_matrix(sitk.CompositeTransform(parts)))


def _fitted(part: sitk.Transform) -> sitk.Transform:
    if isinstance(part, sitk.BSplineTransform):
        return fitted_affine(spline_field(part, max(part.GetTransformDomainPhysicalDimensions()) / SAMPLES))
    if isinstance(part, sitk.DisplacementFieldTransform):
        return fitted_affine(part.GetDisplacementField())
    return part

"""Apply a transform from Python: to an image, a label map, or points.

>>> from ULAERegistrationLib import apply_transform, read_transform
>>> transform = read_transform("result/transform.h5")  # doctest: +SKIP
>>> warped = apply_transform(transform, "other.nii.gz", like="fixed.nii.gz")  # doctest: +SKIP
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .errors import RegistrationError
from .files.volumes import Source, read_any, read_any_labels
from .geometry.inverse import inverse as inverse_of
from .geometry.points import map_points, map_points_back
from .geometry.resampling import INTERPOLATIONS, LABEL_INTERPOLATIONS, Interpolation, resample


def apply_transform(
    transform: sitk.Transform,
    image: Source,
    like: Source,
    *,
    labels: bool = False,
    interpolation: Interpolation | None = None,
    inverse: bool = False,
) -> sitk.Image:
    """Warp an image or a label map of the moving image to the fixed image, or the other way.

    Args:
        transform: from points of the fixed image to points of the moving image (LPS mm), as `register` returns it and
            `read_transform` reads it.
        image: the image or file that is warped.
        like: the image or file whose grid the result has: the fixed image, or with `inverse` the moving one.
        labels: whether `image` is a label map, which keeps its values.
        interpolation: of an image "linear" (the default), "cubic" (kept within the image's own range) or "nearest". Of
            a label map "nearest" (the default), or "linear": each label is sampled for itself, and a voxel gets the one
            with the largest share, as with GenericLabel of ANTs.
        inverse: warp an image of the fixed image to the moving image instead.

    Returns:
        The warped image, of the pixel type of `image`.

    Raises:
        RegistrationError: where a file cannot be read, `interpolation` is not one of those or cannot be used for
            voxels that are not finite, or the transform has no inverse.
    """
    choices = LABEL_INTERPOLATIONS if labels else INTERPOLATIONS
    if interpolation is not None and interpolation not in choices:
        of = "a label map" if labels else "an image"
        raise RegistrationError(
            f"interpolation {interpolation!r} of {of} is not known; choose one of {', '.join(choices)}."
        )
    read = read_any_labels if labels else read_any
    source, grid = read(image, "The image"), read_any(like, "The reference image")
    if interpolation == "cubic" and not np.isfinite(sitk.GetArrayViewFromImage(source)).all():
        raise RegistrationError(
            "The image has voxels that are NaN or infinite, which cubic sampling spreads over all others; take linear."
        )
    if inverse:
        transform = inverse_of(transform)
    return resample(source, grid, transform, labels=labels, interpolation=interpolation)


def apply_transform_to_points(transform: sitk.Transform, points: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """Carry points of the moving image to the fixed image, as images are carried, or the other way.

    A transform maps points of the fixed image to the moving one, so this takes its inverse, found point by point; with
    `inverse` it takes the transform itself.

    Args:
        transform: from points of the fixed image to points of the moving image (LPS mm).
        points: `[n, 3]`, LPS mm, of the moving image; with `inverse`, of the fixed image.
        inverse: carry points of the fixed image to the moving image instead.

    Returns:
        float64 `[n, 3]`, LPS mm.

    Raises:
        RegistrationError: where a point is not finite, or has no counterpart, because the transform folds or ends
            there.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    unknown = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(unknown):
        raise RegistrationError(f"Point number {unknown[0] + 1} is not finite; leave it out.")
    return map_points(transform, points) if inverse else map_points_back(transform, points)

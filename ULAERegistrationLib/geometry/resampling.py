"""Resampling of images."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from .affine import to_matrix
from .brain import background_value
from .orientation import keep_stored_forms
from .transforms import chain_of, parts_of

Interpolation = Literal["linear", "cubic", "nearest"]
LabelInterpolation = Literal["nearest", "linear"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
LABEL_INTERPOLATIONS: tuple[LabelInterpolation, ...] = get_args(LabelInterpolation)
SMALLEST_DETERMINANT = 1e-6  # of a linear map that is moved to the header of an image, whose axes must span a volume
_ITK = {"linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline, "nearest": sitk.sitkNearestNeighbor}
_ITK_LABELS = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLabelLinear}


def resample(
    image: sitk.Image,
    like: sitk.Image,
    transform: sitk.Transform,
    labels: bool = False,
    interpolation: Interpolation | None = None,
) -> sitk.Image:
    """Sample an image once through a transform.

    Args:
        image: the image to sample (the moving image).
        like: the image whose grid the result has (the fixed image).
        transform: from points of `like` to points of `image`, LPS mm.
        labels: whether `image` is a label map, which keeps its values.
        interpolation: of an image "linear" (the default), "cubic" (B-splines of order 3, kept within the image's own
            range) or "nearest". Of a label map "nearest" (the default), or "linear": each label is sampled for itself,
            and a voxel gets the one with the largest share, as with GenericLabel of ANTs.

    Returns:
        Image with the pixel type of `image` (integers are rounded). Outside `image` it is 0, or the background value of
        `image` where that is negative (such as -1024) or its lowest value, and `labels` is false. It carries the
        orientations of the header of `like`.
    """
    kind = image.GetPixelID()
    if labels:
        how = _ITK_LABELS[interpolation or "nearest"]
        return keep_stored_forms(like, sitk.Resample(image, like, transform, how, 0.0, kind))
    outside = outside_value(image)
    interpolation = interpolation or "linear"
    source, grid, transform = _without_linear_ends(image, like, transform)
    is_float = kind in (sitk.sitkFloat32, sitk.sitkFloat64)
    if interpolation == "nearest" or (interpolation == "linear" and is_float):
        sampled = sitk.Resample(source, grid, transform, _ITK[interpolation], outside, kind)
        sampled.CopyInformation(like)
        return keep_stored_forms(like, sampled)
    own = sitk.GetArrayViewFromImage(image)
    # float32 holds the numbers of 16 bits to a hundredth, in half the memory.
    accurate = sitk.sitkFloat32 if own.dtype.itemsize <= 2 else sitk.sitkFloat64
    sampled = sitk.Resample(source, grid, transform, _ITK[interpolation], outside, accurate)
    lowest, highest = min(own.min(), outside), own.max()
    values = np.empty(like.GetSize()[::-1], own.dtype)
    # Plane by plane, because a second volume of such numbers is large.
    for plane, exact in zip(values, sitk.GetArrayViewFromImage(sampled), strict=True):
        kept = np.clip(exact, lowest, highest) if interpolation == "cubic" else exact  # splines overshoot beside edges
        plane[:] = kept if is_float else np.rint(kept)  # a cast by ITK would truncate
    result = sitk.GetImageFromArray(values)
    result.CopyInformation(like)
    return keep_stored_forms(like, result)


def outside_value(image: sitk.Image) -> float:
    """Return what an image shows outside of its grid, as `resample` explains it."""
    background = background_value(image)
    is_lowest = background == sitk.GetArrayViewFromImage(image).min()
    return background if is_lowest or background < 0 else 0.0


def _without_linear_ends(
    image: sitk.Image, like: sitk.Image, transform: sitk.Transform
) -> tuple[sitk.Image, sitk.Image, sitk.Transform]:
    """Move the linear parts at both ends of a chain to the headers of the two images.

    ITK then computes them once instead of at every voxel, which is a quarter of the time of sampling through an affine
    transform, a displacement field and another affine transform.

    Returns:
        The two images with other headers, and the rest of the transform, by which `image` is sampled as before.
    """
    parts = parts_of(transform)
    if all(part.IsLinear() for part in parts):
        return image, like, chain_of(parts)
    while _is_header(parts[0]):
        image = _moved(image, np.linalg.inv(to_matrix(parts.pop(0))))
    while _is_header(parts[-1]):
        like = _moved(like, to_matrix(parts.pop()))
    return image, like, chain_of(parts)


def _is_header(part: sitk.Transform) -> bool:
    """Tell whether a part of a transform is a linear map that the header of an image can hold."""
    return part.IsLinear() and abs(np.linalg.det(to_matrix(part))) > SMALLEST_DETERMINANT


def _moved(image: sitk.Image, matrix: np.ndarray) -> sitk.Image:
    """Move an image in the world by a linear map, 4 x 4, without sampling it; its axes may end at any angles."""
    steps = matrix[:3, :3] @ (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())
    spacing = np.linalg.norm(steps, axis=0)
    moved = sitk.Image(image)
    moved.SetOrigin((matrix[:3, :3] @ image.GetOrigin() + matrix[:3, 3]).tolist())
    moved.SetSpacing(spacing.tolist())
    moved.SetDirection((steps / spacing).ravel().tolist())
    return moved

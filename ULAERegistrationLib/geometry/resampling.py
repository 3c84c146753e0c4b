"""Resampling of images."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk

from .brain import background_value
from .orientation import keep_stored_forms

Interpolation = Literal["linear", "cubic", "nearest"]
LabelInterpolation = Literal["nearest", "linear"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
LABEL_INTERPOLATIONS: tuple[LabelInterpolation, ...] = get_args(LabelInterpolation)
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
        `image` where that is its lowest value (such as -1024) and `labels` is false. It carries the orientations of the
        header of `like`.
    """
    background = background_value(image)
    outside = background if background == sitk.GetArrayViewFromImage(image).min() else 0.0
    kind = image.GetPixelID()
    if labels:
        how = _ITK_LABELS[interpolation or "nearest"]
        return keep_stored_forms(like, sitk.Resample(image, like, transform, how, 0.0, kind))
    interpolation = interpolation or "linear"
    is_float = kind in (sitk.sitkFloat32, sitk.sitkFloat64)
    if interpolation == "nearest" or (interpolation == "linear" and is_float):
        sampled = sitk.Resample(image, like, transform, _ITK[interpolation], outside, kind)
        return keep_stored_forms(like, sampled)
    own = sitk.GetArrayViewFromImage(image)
    # float32 holds the numbers of 16 bits to a hundredth, in half the memory.
    accurate = sitk.sitkFloat32 if own.dtype.itemsize <= 2 else sitk.sitkFloat64
    sampled = sitk.Resample(image, like, transform, _ITK[interpolation], outside, accurate)
    values = sitk.GetArrayFromImage(sampled)
    if interpolation == "cubic":
        np.clip(values, min(own.min(), outside), own.max(), out=values)  # splines overshoot beside edges
    if not is_float:
        np.rint(values, out=values)  # a cast by ITK would truncate
    result = sitk.GetImageFromArray(values.astype(own.dtype))
    result.CopyInformation(sampled)
    return keep_stored_forms(like, result)

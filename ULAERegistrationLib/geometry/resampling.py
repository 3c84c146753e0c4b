"""Resampling of images."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .brain import background_value


def resample(image: sitk.Image, like: sitk.Image, transform: sitk.Transform, labels: bool = False) -> sitk.Image:
    """Sample an image once through a transform.

    Args:
        image: the image to sample (the moving image).
        like: the image whose grid the result has (the fixed image).
        transform: from points of `like` to points of `image`, LPS mm.
        labels: whether to interpolate by nearest neighbour instead of linearly.

    Returns:
        Image with the pixel type of `image` (integers are rounded). Outside `image` it is 0, or the background value of
        `image` where that is its lowest value (such as -1024) and `labels` is false.
    """
    background = background_value(image)
    outside = background if background == sitk.GetArrayViewFromImage(image).min() else 0.0
    kind = image.GetPixelID()
    if labels or kind in (sitk.sitkFloat32, sitk.sitkFloat64):
        how = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
        return sitk.Resample(image, like, transform, how, 0.0 if labels else outside, kind)
    sampled = sitk.Resample(image, like, transform, sitk.sitkLinear, outside, sitk.sitkFloat64)
    values = np.rint(sitk.GetArrayViewFromImage(sampled))  # a cast by ITK would truncate
    result = sitk.GetImageFromArray(values.astype(sitk.GetArrayViewFromImage(image).dtype))
    result.CopyInformation(sampled)
    return result

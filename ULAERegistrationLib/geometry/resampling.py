"""Sample an image once through a transform."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .brain import background_value


def resample(image: sitk.Image, like: sitk.Image, transform: sitk.Transform, labels: bool = False) -> sitk.Image:
    """Sample an image once through a transform.

    Args:
        image: what is sampled (the moving image).
        like: whose grid the result has (the fixed image).
        transform: from points of `like` to points of `image`, LPS mm.
        labels: nearest neighbour instead of linear interpolation.

    Returns:
        Image with the pixel type of `image` (whole numbers are rounded); outside is 0, or the background of `image`
        where that is its lowest value (such as -1024).
    """
    background = background_value(image)
    outside = background if background == sitk.GetArrayViewFromImage(image).min() else 0.0
    kind = image.GetPixelID()
    if labels or kind in (sitk.sitkFloat32, sitk.sitkFloat64):
        how = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
        return sitk.Resample(image, like, transform, how, 0.0 if labels else outside, kind)
    sampled = sitk.Resample(image, like, transform, sitk.sitkLinear, outside, sitk.sitkFloat64)
    values = np.rint(sitk.GetArrayViewFromImage(sampled))  # ITK itself would cut the fraction off
    result = sitk.GetImageFromArray(values.astype(sitk.GetArrayViewFromImage(image).dtype))
    result.CopyInformation(sampled)
    return result

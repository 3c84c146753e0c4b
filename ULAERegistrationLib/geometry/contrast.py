"""Tell whether two aligned scans have the same contrast, from their intensities in the brain."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .likeness import block_means

WHOLLY = 0.9  # fraction of a block that has to be brain in both
SMOOTHING = 8.0  # blocks, sigma of the local mean by which intensities are divided: coils brighten what is near them
# Fluid is dark in T1 and in FLAIR; only tissue tells them apart. Of either scan, the darkest blocks are left out.
DARKEST_PERCENT = 10
# 700 pairs of T1 scans correlate by .29 and more, 168 of T1 with and without contrast agent by .21 and more, 336 of T1
# and T2 or FLAIR by -.08 at most, four of T2 and FLAIR by .13 at most.
SAME_CONTRAST = 0.17


def have_same_contrast(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether two scans seem to have the same contrast.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.
    """
    return intensity_correlation(fixed, moving) >= SAME_CONTRAST


def intensity_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Compute the correlation of two scans' intensities in the brain's tissue, averaged over blocks.

    Before a registration the folds of the cortex do not match; blocks are larger than these.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.

    Returns:
        -1 to 1; 0 where the brains hardly overlap or one of them is constant.
    """
    inside = block_means(((fixed > 0) & (moving > 0)).astype(np.float32)) > WHOLLY
    first, second = _evenly_bright(fixed)[inside], _evenly_bright(moving)[inside]
    if len(first) < 2:
        return 0.0
    bright = (first > np.percentile(first, DARKEST_PERCENT)) & (second > np.percentile(second, DARKEST_PERCENT))
    first, second = first[bright], second[bright]
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _evenly_bright(scan: np.ndarray) -> np.ndarray:
    """Return the means of a scan's blocks, divided by their local mean in the brain."""
    values, brain = block_means(scan), block_means((scan > 0).astype(np.float32)) > 0.5
    nearby = _smoothed(values * brain) / np.maximum(_smoothed(brain.astype(np.float32)), 1e-3)
    return values / np.maximum(nearby, 1e-6)


def _smoothed(values: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(values), SMOOTHING))

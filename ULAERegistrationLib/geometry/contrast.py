"""Tell whether two aligned scans have the same contrast, from their intensities in the brain."""

from __future__ import annotations

import numpy as np

from .likeness import block_means

WHOLLY = 0.9  # fraction of a block that has to be brain in both
# Fluid is dark in T1 and in FLAIR; only tissue tells them apart. Of either scan, the darkest blocks are left out.
DARKEST_PERCENT = 40
# After the affine alignment, twelve pairs of one contrast (T1, T1 with contrast agent, T2, FLAIR) correlated by .28 and
# more, twelve of different contrasts by .22 and less.
SAME_CONTRAST = 0.25


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
    first, second = block_means(fixed)[inside], block_means(moving)[inside]
    if len(first) < 2:
        return 0.0
    bright = (first > np.percentile(first, DARKEST_PERCENT)) & (second > np.percentile(second, DARKEST_PERCENT))
    first, second = first[bright], second[bright]
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])

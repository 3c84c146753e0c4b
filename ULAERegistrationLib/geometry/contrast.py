"""Tell whether two aligned scans have the same contrast, from their intensities in the brain."""

from __future__ import annotations

import numpy as np

from .likeness import block_means

WHOLLY = 0.9  # fraction of a block that has to be brain in both
# After the affine alignment of different people's brains, scans of one contrast (T1, T1 with contrast agent, T2, FLAIR)
# correlated by .42 to .64, those of different contrasts by -.37 to .28.
SAME_CONTRAST = 0.35


def have_same_contrast(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether two scans seem to have the same contrast.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.
    """
    return intensity_correlation(fixed, moving) >= SAME_CONTRAST


def intensity_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Compute the correlation of two scans' intensities in the brain, averaged over blocks.

    Before a registration the folds of the cortex do not match; blocks are larger than these.

    Args:
        fixed, moving: linearly aligned scans on one grid, float32 [L, P, S], 0 outside the brain.

    Returns:
        -1 to 1; 0 where the brains hardly overlap or one of them is constant.
    """
    inside = block_means(((fixed > 0) & (moving > 0)).astype(np.float32)) > WHOLLY
    first, second = block_means(fixed)[inside], block_means(moving)[inside]
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])

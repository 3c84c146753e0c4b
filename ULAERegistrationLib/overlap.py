"""Overlap of label maps."""

from __future__ import annotations

import numpy as np


def dice(labels_a: np.ndarray, labels_b: np.ndarray) -> dict[int, float]:
    """Compute the Dice overlap of each label of two label maps: twice the intersection over the sum of both volumes.

    Args:
        labels_a, labels_b: integer arrays of one shape. 0 is background and left out, as are negative values, by which
            some tools mark unlabelled voxels.

    Returns:
        Dice of every label that occurs in either map, in increasing order of label; empty where there is none.

    Raises:
        ValueError: for different shapes, or arrays that are not of an integer type.
    """
    if labels_a.shape != labels_b.shape:
        raise ValueError(f"label maps of one shape are needed, got {labels_a.shape} and {labels_b.shape}")
    for labels in (labels_a, labels_b):
        if labels.dtype.kind not in "iub":
            raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
    # Labels may be sparse (FreeSurfer's reach 12,175, others hundreds of millions), so those present are renumbered.
    found = np.unique(np.concatenate([np.unique(labels_a), np.unique(labels_b)]))
    numbered = [np.searchsorted(found, labels.ravel()) for labels in (labels_a, labels_b)]
    counts_a, counts_b = (np.bincount(numbers, minlength=len(found)) for numbers in numbered)
    common = np.bincount(numbered[0][numbered[0] == numbered[1]], minlength=len(found))
    overlap = 2 * common / (counts_a + counts_b)
    return {int(label): float(value) for label, value in zip(found, overlap, strict=True) if label > 0}

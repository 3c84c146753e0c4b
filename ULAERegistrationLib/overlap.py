"""Overlap of label maps."""

from __future__ import annotations

import numpy as np


def dice(labels_a: np.ndarray, labels_b: np.ndarray) -> dict[int, float]:
    """Compute the Dice overlap of each label of two label maps: twice the intersection over the sum of both volumes.

    Args:
        labels_a, labels_b: integer arrays of one shape, values of 0 (background, left out) or more.

    Returns:
        Dice of every label found in either map, in increasing order of label.

    Raises:
        ValueError: for different shapes, fractional or negative labels.
    """
    if labels_a.shape != labels_b.shape:
        raise ValueError(f"label maps of one shape are needed, got {labels_a.shape} and {labels_b.shape}")
    counts_a, counts_b = _counts(labels_a), _counts(labels_b)
    size = max(len(counts_a), len(counts_b))
    counts_a, counts_b = (np.pad(counts, (0, size - len(counts))) for counts in (counts_a, counts_b))
    labels = np.flatnonzero(counts_a + counts_b)
    # Labels may be sparse (FreeSurfer's reach 12,175), so those present are renumbered before pairs are counted.
    number = np.zeros(size, np.int64)
    number[labels] = np.arange(len(labels))
    pairs = number[labels_a.ravel()] * len(labels) + number[labels_b.ravel()]
    common = np.bincount(pairs, minlength=len(labels) ** 2)[:: len(labels) + 1]
    overlap = 2 * common / (counts_a + counts_b)[labels]
    return {int(label): float(value) for label, value in zip(labels, overlap, strict=True) if label != 0}


def _counts(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind not in "iub" or labels.min() < 0:
        raise ValueError(f"labels must be whole numbers of 0 or more, got {labels.dtype} from {labels.min()}")
    return np.bincount(labels.ravel())

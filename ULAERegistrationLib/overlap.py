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
    count_a, count_b, common = _counts(labels_a, labels_b)
    return {
        label: 2 * common.get((label, label), 0) / (count_a.get(label, 0) + count_b.get(label, 0))
        for label in sorted(count_a.keys() | count_b.keys())
    }


def dice_by_name(
    labels_a: np.ndarray, names_a: dict[str, int], labels_b: np.ndarray, names_b: dict[str, int]
) -> dict[str, float]:
    """Compute the Dice overlap of the labels that have one name in two label maps, whatever their numbers there.

    Args:
        labels_a, labels_b: as for `dice`.
        names_a, names_b: the number of each label, by its name.

    Returns:
        Dice of every name that both have, in the order of `names_a`, unless its label occurs in neither map.

    Raises:
        ValueError: as for `dice`.
    """
    count_a, count_b, common = _counts(labels_a, labels_b)
    found = {}
    for name in (name for name in names_a if name in names_b):
        a, b = names_a[name], names_b[name]
        total = count_a.get(a, 0) + count_b.get(b, 0)
        if total:
            found[name] = 2 * common.get((a, b), 0) / total
    return found


def _counts(
    labels_a: np.ndarray, labels_b: np.ndarray
) -> tuple[dict[int, int], dict[int, int], dict[tuple[int, int], int]]:
    """Count the voxels of each label of two maps, and of each pair of labels that lie over each other."""
    if labels_a.shape != labels_b.shape:
        raise ValueError(f"label maps of one shape are needed, got {labels_a.shape} and {labels_b.shape}")
    for labels in (labels_a, labels_b):
        if labels.dtype.kind not in "iub":
            raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
    in_a, in_b = labels_a > 0, labels_b > 0
    found_a, counts_a = np.unique(labels_a[in_a], return_counts=True)
    found_b, counts_b = np.unique(labels_b[in_b], return_counts=True)
    # Labels may be sparse (FreeSurfer's reach 12,175, others hundreds of millions), so pairs are numbered by places.
    both = in_a & in_b
    places = np.searchsorted(found_a, labels_a[both]) * len(found_b) + np.searchsorted(found_b, labels_b[both])
    pairs, counts = np.unique(places, return_counts=True)
    a, b = ([int(label) for label in found] for found in (found_a, found_b))
    common = {
        (a[pair // len(b)], b[pair % len(b)]): count
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    }
    return dict(zip(a, counts_a.tolist(), strict=True)), dict(zip(b, counts_b.tolist(), strict=True)), common

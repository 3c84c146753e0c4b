"""Measure one registered pair on the grid of its registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from ..dataset.regions import Numbering, by_region, cortical_dice
from ..flows.jacobian import jacobian_and_smallest
from ..flows.warp import warp
from ..tensors import array_of
from .people import Person


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The measures of one pair; the moving labels are warped by nearest neighbour.

    Attributes:
        dice: mean over the labels that are scored (see `Numbering`), found in either image.
        five_regions: mean of `regions`; None where no label of theirs is found.
        union: Dice of all that is labelled, the labels joined.
        hd95_mm: mean over those found in both images (see `hausdorff95`); None where none is.
        folded_percent: voxels of the grid that fold at any of their eight corners (see `flows.jacobian`).
        folded_central_percent: voxels whose central-difference determinant is not positive, as most papers count them.
        log_jacobian_sd: standard deviation of the natural logarithm of the central-difference determinant in the
            fixed brain, where it is positive.
        regions: mean Dice of each region's labels, by region.
        label_dice, label_hd95_mm: of each label, by label.
    """

    dice: float
    five_regions: float | None
    union: float
    hd95_mm: float | None
    folded_percent: float
    folded_central_percent: float
    log_jacobian_sd: float
    regions: dict[str, float]
    label_dice: dict[int, float]
    label_hd95_mm: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for evaluation.json."""
        return asdict(self)


def measure_pair(fixed: Person, moving: Person, flow: Tensor, numbering: Numbering) -> Measures:
    """Measure a flow.

    Args:
        fixed, moving: the registered people.
        flow: `[1, 3, L, P, S]` in voxels, a pull-back that warps `moving` to `fixed`.
        numbering: of the labels of both.
    """
    warped = array_of(warp(moving.labels_tensor(), flow, mode="nearest")[0, 0]).astype(np.int64)
    label_dice = cortical_dice(warped, fixed.labels, numbering)
    warped, still = only_cortex(warped, numbering), only_cortex(fixed.labels, numbering)
    distances = hausdorff95(warped, still, fixed.spacing)
    regions = by_region(label_dice, numbering)
    determinant, smallest = (found[0] for found in jacobian_and_smallest(flow))
    inside = determinant[fixed.tensor()[0, 0] > 0]
    return Measures(
        dice=float(np.mean(list(label_dice.values()))),
        five_regions=_mean(regions),
        union=float(2 * np.count_nonzero((warped > 0) & (still > 0)) / np.count_nonzero([warped > 0, still > 0])),
        hd95_mm=_mean(distances),
        folded_percent=100 * (smallest <= 0).float().mean().item(),
        folded_central_percent=100 * (determinant <= 0).float().mean().item(),
        log_jacobian_sd=inside[inside > 0].log().std().item(),
        regions=regions,
        label_dice=label_dice,
        label_hd95_mm=distances,
    )


def _mean(scores: Mapping[Any, float]) -> float | None:
    return float(np.mean(list(scores.values()))) if scores else None


def only_cortex(labels: np.ndarray, numbering: Numbering) -> np.ndarray:
    """Set the labels that are not scored to 0."""
    return np.where((labels >= numbering.cortical.start) & (labels < numbering.cortical.stop), labels, 0)


def hausdorff95(labels_a: np.ndarray, labels_b: np.ndarray, spacing: tuple[float, float, float]) -> dict[int, float]:
    """Compute the 95 % Hausdorff distance of every label that occurs in both of two maps, mm.

    It is the 95th percentile of the distances from the surface voxels of one label to the nearest of the other, between
    voxel centres, and the larger value of the two directions, as MONAI defines it.

    Args:
        labels_a, labels_b: whole numbers, `[L, P, S]`.
        spacing: mm along L, P, S.
    """
    boxes_a, boxes_b = _boxes(labels_a), _boxes(labels_b)
    distances = {}
    for label in sorted(boxes_a.keys() & boxes_b.keys()):
        low = np.minimum(boxes_a[label][0], boxes_b[label][0])
        high = np.maximum(boxes_a[label][1], boxes_b[label][1])
        box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        surfaces = [_surface(labels[box] == label) for labels in (labels_a, labels_b)]
        to_a, to_b = (_distance(surface, spacing) for surface in surfaces)
        distances[label] = float(max(np.percentile(to_b[surfaces[0]], 95), np.percentile(to_a[surfaces[1]], 95)))
    return distances


def _boxes(labels: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Find the bounding box of every label but 0: its first and one past its last index along each axis."""
    places = np.argwhere(labels)
    values = labels[tuple(places.T)]
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    groups = np.split(places[order], starts[1:])
    return {int(label): (group.min(0), group.max(0) + 1) for label, group in zip(found, groups, strict=True)}


def _surface(mask: np.ndarray) -> np.ndarray:
    """Find the voxels of a mask that have a neighbour across a face outside it; beyond the array is outside."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return mask & ~inner[1:-1, 1:-1, 1:-1]


def _distance(surface: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Compute the distance of every voxel to the nearest voxel of a surface, mm."""
    image = sitk.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing(tuple(reversed(spacing)))  # numpy's axes are SimpleITK's reversed
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayViewFromImage(distance), 0)  # the filter's distances are negative inside the surface

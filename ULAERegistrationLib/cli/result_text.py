"""Print a finished registration in a few lines. Commands import this only when they run, because it loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import SimpleITK as sitk

from ..errors import printable
from ..geometry.resampling import resample
from ..overlap import dice
from ..result import Registration


def overlap_before_and_after(
    registration: Registration, fixed_labels: sitk.Image, labels: sitk.Image, warped_labels: sitk.Image
) -> dict[str, Any]:
    """Compute the Dice of every label after the alignment alone and after registration, and the means over all labels.

    Args:
        registration: the finished registration.
        fixed_labels: of the fixed image.
        labels: of the moving image.
        warped_labels: `labels` on the fixed grid, after registration.

    Returns:
        `dice_before`, `dice_after` (means, None where there is no label), `dice_before_by_label` and
        `dice_after_by_label`.
    """
    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    measures: dict[str, Any] = {}
    for when, image in (("before", aligned), ("after", warped_labels)):
        overlap = dice(sitk.GetArrayFromImage(fixed_labels), sitk.GetArrayFromImage(image))
        measures[f"dice_{when}"] = sum(overlap.values()) / len(overlap) if overlap else None
        measures[f"dice_{when}_by_label"] = {str(label): value for label, value in overlap.items()}
    return measures


def print_result(registration: Registration, measures: Mapping[str, Any]) -> None:
    """Print the verdict, the main measures, the times and the weights of a registration."""
    quality = registration.quality
    print(f"{quality.verdict}: {' '.join(quality.reasons)}")
    print(f"local correlation {quality.ncc_before:.3f} -> {quality.ncc_after:.3f}", end="")
    if measures.get("dice_after") is not None:
        print(f", mean Dice {measures['dice_before']:.3f} -> {measures['dice_after']:.3f}", end="")
    print(f", folded {quality.folded_percent:.3f} %, mean displacement {quality.displacement_mean_mm:.1f} mm")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in quality.seconds.items()))
    print(f"weights {printable(registration.card.name)}: {printable(registration.card.licence)}")

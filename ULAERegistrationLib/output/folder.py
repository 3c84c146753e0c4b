"""A finished registration as a folder of files that other tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..files.transforms import write_transform
from ..files.volumes import write_image
from ..files.writing import whole_folder_or_nothing
from .report import ReportContent, write_report

STEP_SPACING = 2.0  # mm; the fields of the steps are looked at, never used to warp a result


@dataclass(frozen=True, eq=False)
class SavedStep:
    """What is saved of an accumulative step.

    Attributes:
        name: "phi1", "phi2", "phi3".
        transform: what it adds, a displacement field from fixed to fixed (LPS mm).
        warped: the moving image after it, on the fixed grid.
    """

    name: str
    transform: sitk.Transform
    warped: sitk.Image


def save_folder(
    folder: Path,
    *,
    transform: sitk.Transform,
    warped: sitk.Image,
    aligned: sitk.Image,
    steps: Sequence[SavedStep],
    quality: dict[str, Any],
    report: ReportContent,
) -> None:
    """Write everything a registration holds; the folder appears whole or not at all.

        transform.h5                  fixed -> moving, LPS mm, one displacement field
        warped.nii.gz                 the moving image on the fixed grid
        steps/phi1.h5 ...             what each step adds, fixed -> fixed, sampled every 2 mm
        steps/warped0.nii.gz ...      the moving image after the alignment (0) and after each step
        figures/                      the figures of the report
        quality.json, report.html     measures; figures and words

    Args:
        folder: of the result.
        transform: fixed to moving (LPS mm).
        warped: the moving image through it, on the fixed grid.
        aligned: the moving image after the alignment alone, on the fixed grid.
        steps: the accumulative steps, in order.
        quality: the content of quality.json.
        report: what the report tells of.

    Raises:
        RegistrationError: where it cannot be written.
    """
    with whole_folder_or_nothing(folder) as partial:
        write_transform(transform, partial / "transform.h5")
        write_image(warped, partial / "warped.nii.gz")
        write_image(aligned, partial / "steps" / "warped0.nii.gz")
        for number, step in enumerate(steps, start=1):
            write_transform(step.transform, partial / "steps" / f"{step.name}.h5")
            write_image(step.warped, partial / "steps" / f"warped{number}.nii.gz")
        (partial / "quality.json").write_text(json.dumps(quality, indent=2) + "\n", encoding="utf-8")
        write_report(report, partial / "report.html", partial / "figures")

"""A finished registration as a folder of files that other tools read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.transforms import write_transform
from ..files.writing import whole_or_nothing, write_image
from ..geometry.transforms import displacement_field

if TYPE_CHECKING:
    from ..result import Registration


STEP_SPACING = 2.0  # mm; the fields of the steps are looked at, never used to warp a result


def save(registration: Registration, folder: Path) -> None:
    """Write everything a registration holds.

        transform.h5                  fixed -> moving, LPS mm, one displacement field
        warped.nii.gz                 the moving image on the fixed grid
        steps/phi1.h5 ...             what each step adds, fixed -> fixed, sampled every 2 mm
        steps/warped0.nii.gz ...      the moving image after the alignment (0) and after each step
        figures/                      the pictures of the report
        quality.json, report.html     measures; pictures and words

    A new folder appears whole: the files are first written beside it.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(registration, partial)
        folder.mkdir(exist_ok=True)
        for path in sorted(partial.rglob("*")):
            target = folder / path.relative_to(partial)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(registration: Registration, folder: Path) -> None:
    registration = registration.with_inverse_measured()
    write_transform(registration.transform, folder / "transform.h5")
    write_image(registration.warped, folder / "warped.nii.gz")
    write_image(registration.aligned, folder / "steps" / "warped0.nii.gz")
    for number, step in enumerate(registration.steps, start=1):
        sampled = displacement_field(step.transform, registration.fixed, STEP_SPACING)
        write_transform(sampled, folder / "steps" / f"{step.name}.h5")
        last = number == len(registration.steps)
        write_image(registration.warped if last else step.warped, folder / "steps" / f"warped{number}.nii.gz")
    with whole_or_nothing(folder / "quality.json") as partial:
        partial.write_text(json.dumps(registration.quality.to_dict(), indent=2) + "\n", encoding="utf-8")
    from .report import write_report

    write_report(registration, folder / "report.html", folder / "figures")

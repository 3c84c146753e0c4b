"""Save a finished registration as a folder of files that other tools read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..files.transforms import write_transform
from ..files.volumes import write_image
from ..files.writing import files_in, whole_folder_or_nothing
from .report import Pictures, ReportContent, write_report

STEP_SPACING = 2  # mm; the fields of the steps are for display, and no result is warped by them


@dataclass(frozen=True, eq=False)
class SavedStep:
    """The saved parts of an accumulative step.

    Attributes:
        name: "phi1", "phi2", "phi3".
        transform: the step's own, from fixed to fixed (LPS mm).
        warped: the moving image after this step, on the fixed grid; the last step's is written as that of the result.
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
    pictures: Pictures,
    masks: Mapping[str, sitk.Image | None],
    warped_labels: sitk.Image | None = None,
) -> None:
    """Write all files of a registration; they appear only after all of them have been written.

        transform.h5                  fixed -> moving, LPS mm: affine, displacement field, affine
        warped.nii.gz                 the moving image on the fixed grid
        steps/phi1.h5 ...             each step's own transform, fixed -> fixed, sampled every 2 mm
        steps/warped0.nii.gz ...      the moving image after the alignment (0) and after each step
        figures/                      the figures of the report
        fixed_brain.nii.gz ...        the brain masks that were given or extracted
        warped_labels.nii.gz          the moving image's label map on the fixed grid, if there is one
        quality.json, report.html     the measures and the names of these files, and a report with figures

    Files of an earlier result that this one lacks are removed.

    Args:
        folder: of the result.
        transform: fixed to moving (LPS mm).
        warped: the moving image warped by it, on the fixed grid.
        aligned: the moving image after the alignment alone, on the fixed grid.
        steps: the accumulative steps, in order.
        quality: the content of quality.json.
        report: the content of the report.
        pictures: of the report.
        masks: the brain masks that were used, by "fixed" and "moving"; None where there was none.
        warped_labels: the moving image's label map, warped to the fixed grid.

    Raises:
        RegistrationError: where the folder cannot be written.
    """
    volumes = {"warped": warped, "steps/warped0": aligned, "warped_labels": warped_labels}
    volumes |= {f"steps/warped{number}": step.warped for number, step in enumerate(steps[:-1], start=1)}
    volumes |= {f"{role}_brain": mask for role, mask in masks.items()}

    with whole_folder_or_nothing(folder) as partial:
        with ThreadPoolExecutor(max_workers=2) as pool:  # as each file is compressed on one core
            try:
                tasks = [pool.submit(write_transform, transform, partial / "transform.h5")]
                for name, image in volumes.items():
                    if image is not None:
                        tasks.append(pool.submit(write_image, image, partial / f"{name}.nii.gz"))
                for step in steps:
                    tasks.append(pool.submit(write_transform, step.transform, partial / "steps" / f"{step.name}.h5"))
                for task in tasks:
                    task.result()
                if steps:  # after the last one the moving image is the warped one
                    shutil.copyfile(partial / "warped.nii.gz", partial / f"steps/warped{len(steps)}.nii.gz")
            finally:  # where one has failed, or the user has cancelled, the folder is removed, and none may go on in it
                pool.shutdown(cancel_futures=True)
        record = partial / "quality.json"
        record.touch()  # which the report lists; it is written last, as it lists the report and its figures
        write_report(report, partial / "report.html", partial / "figures", pictures)
        content = {**quality, "files": files_in(partial)}
        record.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

"""What the worker writes of a registration for the program that wanted it. Imported when torch has been loaded.

In world coordinates (LPS mm), uncompressed, because it is read back at once:

    field.nrrd                        the total displacement fixed -> moving, float32
    warped.nrrd                       the moving image on the fixed grid
    fixed_mask.nrrd, moving_mask.nrrd the brains that were found, where a scan showed more and no mask was given
    steps/0.nrrd .. 3.nrrd            the total displacement after the alignment and after each step
    steps/flow1.nrrd .. 3.nrrd        what each step adds, in the frame of the fixed image; both every STEP_SPACING mm
    quality.json, report.html
"""

from __future__ import annotations

import json
from pathlib import Path

import SimpleITK as sitk

from ..geometry.transforms import covering_grid
from ..output.folder import STEP_SPACING
from ..output.report import write_report
from ..progress import Progress
from ..result import Registration
from .job import JobDescription


def write_results(registration: Registration, job: JobDescription, folder: Path, progress: Progress) -> None:
    """Write what the job asks for.

    Args:
        registration: the finished registration.
        job: which of the results are wanted.
        folder: for the results; made here.
        progress: told the fraction written and what is being written.
    """
    folder.mkdir()
    progress(0.0, "Writing the transform")
    _write(registration.transform.GetDisplacementField(), folder / "field.nrrd")
    (folder / "quality.json").write_text(json.dumps(registration.quality_record()), encoding="utf-8")
    found = {"fixed": (registration.fixed_mask, job.fixed_mask), "moving": (registration.moving_mask, job.moving_mask)}
    for role, (mask, given) in found.items():
        if mask is not None and given is None:
            _write(mask, folder / f"{role}_mask.nrrd")
    if job.warped:
        progress(0.2, "Writing the warped volume")
        _write(registration.warped, folder / "warped.nrrd")
    if job.steps:
        progress(0.4, "Writing the steps")
        _write_steps(registration, folder / "steps")
    if job.report:
        progress(0.6, "Writing the report")
        write_report(registration.report_content(), folder / "report.html")


def _write(image: sitk.Image, path: Path) -> None:
    """Vectors as float32."""
    if image.GetPixelID() == sitk.sitkVectorFloat64:
        image = sitk.Cast(image, sitk.sitkVectorFloat32)
    sitk.WriteImage(image, str(path))


def _write_steps(registration: Registration, folder: Path) -> None:
    """The fields that show what each step did, coarse enough to be cheap."""
    folder.mkdir()
    grid = covering_grid(registration.fixed, STEP_SPACING)
    place = grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    fields = {"0": registration.alignment.fixed_to_moving}
    for number, step in enumerate(registration.steps, 1):
        fields |= {f"flow{number}": step.transform, str(number): step.cumulative_transform}
    for name, transform in fields.items():
        _write(sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat32, *place), folder / f"{name}.nrrd")

"""Write the results of a registration for the parent process. This module loads torch.

The files are in world coordinates (LPS mm), and uncompressed because they are read back at once:

    field.nrrd                        the total displacement fixed -> moving, float32
    warped.nrrd                       the moving image on the fixed grid
    fixed_mask.nrrd, moving_mask.nrrd the brain masks that were extracted, not those that were given
    quality.json

and in the folder `extras`, which is written after these, while the result is looked at already:

    steps/0.nrrd .. 3.nrrd            the total displacement after the alignment and after each step
    steps/flow1.nrrd .. flow3.nrrd    each step's own displacement, fixed -> fixed; both kinds every STEP_SPACING mm
    report.html
"""

from __future__ import annotations

import json
from pathlib import Path

import SimpleITK as sitk

from ..files.writing import whole_folder_or_nothing
from ..files.written import write_checked
from ..geometry.transforms import displacement_field
from ..output.folder import STEP_SPACING
from ..output.report import write_report
from ..progress import WRITING_REPORT, WRITING_STEPS, WRITING_TRANSFORM, WRITING_WARPED, Progress
from ..result import Registration
from .job import JobDescription


def write_results(registration: Registration, job: JobDescription, folder: Path, progress: Progress) -> None:
    """Write the results that a job requests, but for the extras.

    Args:
        registration: the finished registration.
        job: tells which results to write.
        folder: for the results; it is written completely or not at all.
        progress: called with the fraction written and what is being written.

    Raises:
        RegistrationError: where it cannot be written.
    """
    with whole_folder_or_nothing(folder) as partial:
        _write_all(registration, job, partial, progress)


def _write_all(registration: Registration, job: JobDescription, folder: Path, progress: Progress) -> None:
    progress(0.0, WRITING_TRANSFORM)
    _write(registration.displacement_field(), folder / "field.nrrd")
    (folder / "quality.json").write_text(json.dumps(registration.quality_record()), encoding="utf-8")
    found = {"fixed": (registration.fixed_mask, job.fixed_mask), "moving": (registration.moving_mask, job.moving_mask)}
    for role, (mask, given) in found.items():
        if mask is not None and given is None:
            _write(mask, folder / f"{role}_mask.nrrd")
    if job.warped:
        progress(0.7, WRITING_WARPED)
        _write(registration.warped, folder / "warped.nrrd")


def write_extras(registration: Registration, job: JobDescription, folder: Path, progress: Progress) -> None:
    """Write the fields of the steps and the report, where the job requests them.

    Args:
        registration: the finished registration.
        job: tells which of them to write.
        folder: for them; it is written completely or not at all.
        progress: called with the fraction written and what is being written.

    Raises:
        RegistrationError: where it cannot be written.
    """
    if not (job.steps or job.report):
        return
    with whole_folder_or_nothing(folder) as partial:
        if job.steps:
            progress(0.0, WRITING_STEPS)
            _write_steps(registration, partial / "steps")
        if job.report:
            progress(0.4, WRITING_REPORT)
            write_report(registration.report_content(), partial / "report.html")


def _write(image: sitk.Image, path: Path) -> None:
    write_checked(image, path, compress=False)


def _write_steps(registration: Registration, folder: Path) -> None:
    """Write the displacement fields of the steps, on a coarse grid to save time."""
    folder.mkdir()

    def write(name: str, transform: sitk.Transform) -> None:
        _write(displacement_field(transform, registration.fixed, STEP_SPACING), folder / f"{name}.nrrd")

    write("0", registration.alignment.fixed_to_moving)
    for number, step in enumerate(registration.steps, 1):
        write(f"flow{number}", step.coarse_transform)
        write(str(number), step.cumulative_transform)

"""The process that computes a registration for Slicer: job file in, JSON lines and result files out.

`python -m ULAERegistrationLib.process.worker job.json`, started by `job`. The job file:

    {"fixed": "fixed.nrrd", "moving": "moving.nrrd",        files relative to the job file's folder
     "fixed_mask": null, "moving_mask": null,
     "initial_transform": null,                             a file SimpleITK reads: fixed -> moving, LPS
     "settings": {"preset": "fast"},                        fields of RegistrationSettings
     "warped": true, "steps": true, "report": true}         what to write beside the transform

Lines on standard output: {"fraction": 0.4, "message": "Step 2 of 3"}, and {"error": sentence} where it fails (exit
status 1). Results, in `result/` beside the job file, in world coordinates (LPS mm):

    field.nrrd                   the total displacement fixed -> moving, float32
    warped.nrrd                  the moving image on the fixed grid
    steps/0.nrrd .. 3.nrrd       the total displacement after the alignment and after each step, every STEP_SPACING mm
    steps/flow1.nrrd .. 3.nrrd   what each step adds, in the frame of the fixed image
    quality.json, report.html
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from ..errors import NOT_ENOUGH_MEMORY, RegistrationError
from .memory import keep_freed_memory

if TYPE_CHECKING:
    from ..result import Registration


_REPAIR = (
    "PyTorch cannot be loaded ({}); in Slicer, uninstall it in the module PyTorch Utils, restart Slicer and install it"
    " again."
)
REGISTERING = 0.9  # the share of the bar that register() has; the rest is writing


class Reporter:
    """Writes the JSON lines; everything else that prints goes to the log (standard error).

    Attributes:
        folder: removed when nobody listens any more; None leaves everything where it is.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def progress(self, fraction: float, message: str) -> None:
        self._line({"fraction": round(float(fraction), 4), "message": message})

    def error(self, sentence: str) -> None:
        self._line({"error": sentence})

    def _line(self, content: dict) -> None:
        try:
            print(json.dumps(content), file=self._out, flush=True)
        except OSError:
            _leave(self.folder)


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns the exit status."""
    keep_freed_memory()
    job_file = Path((arguments or sys.argv[1:])[0]).resolve()
    report = Reporter()
    try:
        job = json.loads(job_file.read_text(encoding="utf-8"))
        report.folder = None if job.get("keep_files") else job_file.parent
        _end_with_parent(report.folder)
        # Files by their bare names from here on: under Windows, ITK in python.exe cannot open a path with letters
        # beyond ASCII, and the folder's path may hold the name of the account.
        os.chdir(job_file.parent)
        run(job, Path(), report)
    except RegistrationError as error:
        report.error(str(error))
    except MemoryError:
        report.error(NOT_ENOUGH_MEMORY)
    except ModuleNotFoundError as error:
        report.error(f"The Python package {error.name} is missing; install it and register again.")
    except Exception as error:
        traceback.print_exc()
        report.error(
            f"The registration failed unexpectedly ({type(error).__name__}: {error}); the log has the details."
        )
    else:
        return 0
    return 1


def run(job: dict, folder: Path, report: Reporter) -> None:
    """Registers, and writes what the job asks for.

    Args:
        job: the job file's content.
        folder: where its files lie; `result/` is made in it.
        report: where progress goes.

    Raises:
        RegistrationError: as `register` does.
    """
    report.progress(0.0, "Loading the network")
    _load_torch()
    from .. import RegistrationSettings, register

    def path(key: str) -> str | None:
        return str(folder / job[key]) if job.get(key) else None

    registration = register(
        path("fixed"),
        path("moving"),
        settings=RegistrationSettings(**job.get("settings", {})),
        fixed_mask=path("fixed_mask"),
        moving_mask=path("moving_mask"),
        initial_transform=path("initial_transform"),
        progress=lambda fraction, message: report.progress(REGISTERING * fraction, message),
    )
    result = folder / "result"
    result.mkdir()
    report.progress(REGISTERING, "Writing the transform")
    _write(registration.transform.GetDisplacementField(), result / "field.nrrd")
    (result / "quality.json").write_text(json.dumps(registration.quality_record()), encoding="utf-8")
    if job.get("warped"):
        report.progress(0.92, "Writing the warped volume")
        _write(registration.warped, result / "warped.nrrd")
    if job.get("steps"):
        report.progress(0.94, "Writing the steps")
        _write_steps(registration, result / "steps")
    if job.get("report"):
        report.progress(0.96, "Writing the report")
        from ..output.report import write_report

        write_report(registration.report_content(), result / "report.html")
    report.progress(1.0, "Done")


def _load_torch() -> None:
    """Imports torch, which takes seconds.

    Raises:
        RegistrationError: it is installed, but cannot be loaded: by halves, or in a version for another computer.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise
        raise RegistrationError(_REPAIR.format(error)) from error
    except (ImportError, OSError) as error:
        raise RegistrationError(_REPAIR.format(error)) from error


def _write(image: sitk.Image, path: Path) -> None:
    """Uncompressed, vectors as float32: it is read back at once."""
    if image.GetPixelID() == sitk.sitkVectorFloat64:
        image = sitk.Cast(image, sitk.sitkVectorFloat32)
    sitk.WriteImage(image, str(path))


def _write_steps(registration: Registration, folder: Path) -> None:
    """The fields that show what each step did, coarse enough to be cheap."""
    from ..geometry.transforms import covering_grid
    from ..output.folder import STEP_SPACING

    folder.mkdir()
    grid = covering_grid(registration.fixed, STEP_SPACING)
    place = grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    kind = sitk.sitkVectorFloat32
    total = sitk.TransformToDisplacementField(registration.alignment.fixed_to_moving, kind, *place)
    _write(total, folder / "0.nrrd")
    for number, step in enumerate(registration.steps, 1):
        own = sitk.TransformToDisplacementField(step.transform, kind, *place)
        # Equation 2: the earlier steps take over where this one points to.
        there = sitk.DisplacementFieldTransform(sitk.Cast(own, sitk.sitkVectorFloat64))
        earlier = sitk.Resample(total, grid, there, sitk.sitkLinear, 0.0, kind, useNearestNeighborExtrapolator=True)
        vectors = sitk.GetArrayViewFromImage(earlier) + sitk.GetArrayViewFromImage(own)
        total = sitk.GetImageFromArray(vectors, isVector=True)
        total.CopyInformation(grid)
        _write(own, folder / f"flow{number}.nrrd")
        _write(total, folder / f"{number}.nrrd")


def _end_with_parent(folder: Path | None) -> None:
    """Ends this process, and removes its folder, when the program that started it is gone.

    That program holds the other end of standard input, which closes when it ends, in whatever way.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return
    # Under another number: on Windows, libraries that look at standard input while they load would wait for the reader.
    other_end = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(other_end, 1024):
            pass
        _leave(folder)

    threading.Thread(target=wait, daemon=True).start()


def _leave(folder: Path | None) -> None:
    """Ends this process at once: the program that started it is gone."""
    if folder is not None:
        os.chdir(folder.parent)  # Windows removes no folder in which a process is
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

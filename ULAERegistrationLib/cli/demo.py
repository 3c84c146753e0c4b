"""`ulae demo`: register a simulated subject whose deformation is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import PRESETS
from ..simulation import SimulatedPair, simulate
from .options import add_command, progress_bar
from .register import print_result

if TYPE_CHECKING:
    from ..progress import Progress
    from ..result import Registration


def add_demo(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "demo", _demo, "Register a simulated subject whose deformation is known.")
    command.add_argument("-o", "--output", default="demo", metavar="FOLDER", help="default: demo")
    command.add_argument("--preset", choices=PRESETS, default="accurate", help="default: accurate")


def _demo(options: argparse.Namespace) -> None:
    from ..simulation import true_error

    with progress_bar(False) as progress:
        pair, registration = run(Path(options.output), options.preset, progress)
    import SimpleITK as sitk

    untouched = true_error(pair, sitk.Transform(3, sitk.sitkIdentity))
    aligned = true_error(pair, registration.alignment.fixed_to_moving)
    registered = true_error(pair, registration.transform)
    print("true error in the brain, mm (mean, 95th percentile):")
    for name, error in (("as scanned", untouched), ("aligned", aligned), ("registered", registered)):
        print(f"  {name:11} {error.mean():6.2f} {sorted(error)[int(0.95 * len(error))]:6.2f}")
    print_result(registration, {})
    print(f"pictures and report: {Path(options.output) / 'report.html'}")


def run(folder: Path, preset: str = "accurate", progress: Progress | None = None) -> tuple[SimulatedPair, Registration]:
    """Simulate, register, and write both volumes and the result.

    Raises:
        RegistrationError: where the folder cannot be written.
    """
    # Simulating needs no torch, and Slicer does it without.
    from ..files.writing import check_output_folder, write_image
    from ..registration import register

    folder = check_output_folder(folder)
    pair = simulate()
    registration = register(pair.subject, pair.template, preset=preset, progress=progress)
    registration.save(folder)
    write_image(pair.subject, folder / "fixed_subject.nii.gz")
    write_image(pair.template, folder / "moving_template.nii.gz")
    return pair, registration

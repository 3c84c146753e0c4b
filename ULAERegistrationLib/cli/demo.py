"""`ulae demo`: register the head of a simulated subject whose deformation is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..settings import PRESETS
from .options import Commands, add_command, add_json, progress_bar


def add_demo(commands: Commands) -> None:
    """Add the command `ulae demo`."""
    command = add_command(
        commands,
        "demo",
        _demo,
        "Register the head of a simulated subject whose deformation is known.",
        "ulae demo",
        "ulae demo -o demo --preset fast --json",
    )
    command.set_defaults(ending=_ending)
    command.add_argument("-o", "--output", default="demo", metavar="FOLDER", help="default: demo")
    command.add_argument("--preset", choices=PRESETS, default="accurate", help="default: accurate")
    add_json(command)


def _ending(options: argparse.Namespace) -> str:
    """Say what there is of a demo that was cancelled."""
    return f"cancelled; what was written before stays in {options.output}"


def _demo(options: argparse.Namespace) -> None:
    # Imported here because these load torch and SimpleITK, which would delay the help of the command line.
    import SimpleITK as sitk

    from ..files.volumes import write_image
    from ..files.writing import check_output_folder
    from ..registration import register
    from ..simulation import paint_head, simulate, true_error
    from .result_text import print_result

    folder = check_output_folder(Path(options.output))
    pair = simulate()
    scans = folder / "fixed_subject.nii.gz", folder / "moving_template.nii.gz"
    folder.mkdir(parents=True, exist_ok=True)
    for scan, image in zip(scans, (paint_head(pair), pair.template), strict=True):
        write_image(image, scan)
    with progress_bar(options.json, "the simulated pair") as progress:
        registration = register(*scans, preset=options.preset, progress=progress)
        progress(1.0, "Writing the result")
        registration = registration.with_inverse_measured()
        registration.save(folder)
    untouched = true_error(pair, sitk.Transform(3, sitk.sitkIdentity))
    aligned = true_error(pair, registration.alignment.fixed_to_moving)
    registered = true_error(pair, registration.transform)
    errors = {
        name: (float(error.mean()), float(sorted(error)[int(0.95 * len(error))]))
        for name, error in (("as scanned", untouched), ("aligned", aligned), ("registered", registered))
    }
    if options.json:
        named = {name: dict(zip(("mean_mm", "p95_mm"), error, strict=True)) for name, error in errors.items()}
        print(json.dumps({"true_error": named, **registration.quality_record()}, indent=2))
        return
    print("true error in the brain, mm (mean, 95th percentile):")
    for name, (mean, most) in errors.items():
        print(f"  {name:11} {mean:6.2f} {most:6.2f}")
    print_result(registration, {})
    print(f"pictures and report: {folder / 'report.html'}")

"""`ulae`: registration from a shell. Exit status 0 done, 1 failed with one line on stderr, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .cli_batch import add_batch
from .cli_benchmark import add_benchmark
from .cli_training import add_evaluate, add_train
from .errors import Cancelled, RegistrationError
from .settings import PRESETS
from .terminal import add_command, add_settings, progress_bar, settings_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except RegistrationError as error:
        print(f"ulae: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Cancelled):
        print("ulae: cancelled, nothing was written", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ulae", description="Register brain MR scans with ULAE-net.")
    parser.add_argument("--version", action="version", version=f"ulae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_register(commands)
    _add_apply(commands)
    _add_info(commands)
    _add_demo(commands)
    add_benchmark(commands)
    add_batch(commands)
    add_train(commands)
    add_evaluate(commands)
    return parser


def _add_register(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "register", _register, "Register a moving brain scan to a fixed one.")
    command.add_argument("fixed", metavar="FIXED", help="the scan that stays")
    command.add_argument("moving", metavar="MOVING", help="the scan that is warped")
    command.add_argument("-o", "--output", metavar="FOLDER", help="write everything here, with a report")
    command.add_argument("--transform", metavar="FILE", help="write the transform (.h5 or .nii.gz)")
    command.add_argument("--warped", metavar="FILE", help="write the warped moving scan (.nii.gz, .nrrd, .mha)")
    command.add_argument("--fixed-mask", metavar="FILE", help="the fixed scan's brain")
    command.add_argument("--moving-mask", metavar="FILE", help="the moving scan's brain")
    command.add_argument("--moving-labels", metavar="FILE", help="a label map of the moving scan to carry along")
    command.add_argument("--warped-labels", metavar="FILE", help="where to write it (default: in the output folder)")
    command.add_argument("--fixed-labels", metavar="FILE", help="a label map of the fixed scan: reports Dice")
    command.add_argument("--initial-transform", metavar="FILE", help="where the alignment starts (fixed to moving)")
    add_settings(command)
    command.add_argument("--json", action="store_true", help="print the measures as JSON")


def _register(options: argparse.Namespace) -> None:
    targets = (options.output, options.transform, options.warped, options.warped_labels, options.json or None)
    if not any(targets):
        raise RegistrationError("Nothing would be kept; say where to write: -o FOLDER, --transform or --warped FILE.")
    if options.warped_labels and not options.moving_labels:
        raise RegistrationError("--warped-labels needs the label map to warp; give it with --moving-labels FILE.")
    if options.moving_labels and not (options.warped_labels or options.output or options.fixed_labels):
        raise RegistrationError("The warped label map has no place; give --warped-labels FILE or -o FOLDER.")
    if options.fixed_labels and not options.moving_labels:
        raise RegistrationError("--fixed-labels is compared with the warped labels; give --moving-labels FILE too.")
    from .field import TRANSFORM_EXTENSIONS, write_transform
    from .images import check_output_file, check_output_folder, read_labels, read_volume, write_image

    if options.output:
        check_output_folder(options.output)
    if options.transform:
        check_output_file(options.transform, TRANSFORM_EXTENSIONS)
    for file in filter(None, (options.warped, options.warped_labels)):
        check_output_file(file)
    fixed, moving = read_volume(options.fixed, "fixed"), read_volume(options.moving, "moving")
    labels = options.moving_labels and read_labels(options.moving_labels, moving, "moving")
    fixed_labels = options.fixed_labels and read_labels(options.fixed_labels, fixed, "fixed")

    from .registration import register

    with progress_bar(options.quiet or options.json) as progress:
        registration = register(
            fixed,
            moving,
            settings_of(options),
            fixed_mask=options.fixed_mask,
            moving_mask=options.moving_mask,
            initial_transform=options.initial_transform,
            progress=progress,
        )
    if options.output:
        registration.save(options.output)
    if options.transform:
        write_transform(registration.transform, options.transform)
    if options.warped:
        write_image(registration.warped, options.warped)
    measures = {**registration.quality.to_dict(), "model": registration.model.name}
    if labels:
        warped_labels = registration.warp_labels(labels)
        target = options.warped_labels or (options.output and Path(options.output) / "warped_labels.nii.gz")
        if target:
            write_image(warped_labels, target)
        if fixed_labels:
            measures |= _overlap(registration, fixed_labels, labels, warped_labels)
    if options.json:
        print(json.dumps(measures, indent=2))
    elif not options.quiet:
        _tell(registration, measures)


def _overlap(registration, fixed_labels, labels, warped_labels) -> dict:
    """Dice of every label after the alignment alone and after registration, and the means over all labels."""
    import SimpleITK as sitk

    from .field import resample
    from .quality import dice

    aligned = resample(labels, registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    measures = {}
    for when, image in (("before", aligned), ("after", warped_labels)):
        overlap = dice(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(fixed_labels))
        measures[f"dice_{when}"] = sum(overlap.values()) / len(overlap)
        measures[f"dice_{when}_by_label"] = {str(label): value for label, value in overlap.items()}
    return measures


def _tell(registration, measures: dict) -> None:
    quality = registration.quality
    print(f"{quality.verdict}: {' '.join(quality.reasons)}")
    print(f"local correlation {quality.ncc_before:.3f} -> {quality.ncc_after:.3f}", end="")
    if "dice_after" in measures:
        print(f", mean Dice {measures['dice_before']:.3f} -> {measures['dice_after']:.3f}", end="")
    print(f", folded {quality.folded_percent:.3f} %, mean displacement {quality.displacement_mean_mm:.1f} mm")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in quality.seconds.items()))
    print(f"weights {registration.model.name}: {registration.model.licence}")


def _add_apply(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "apply", _apply, "Warp another image, or a label map, with a transform.")
    command.add_argument("transform", metavar="TRANSFORM", help=".h5 or .nii.gz, as `ulae register` writes it")
    command.add_argument("moving", metavar="MOVING", help="what is warped")
    command.add_argument("--like", required=True, metavar="FIXED", help="the image whose grid the result has")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help=".nii.gz, .nrrd or .mha")
    command.add_argument("--labels", action="store_true", help="a label map: nearest neighbour")
    command.add_argument("--inverse", action="store_true", help="the other way, from fixed to moving")


def _apply(options: argparse.Namespace) -> None:
    from .field import inverse, read_transform, resample
    from .images import check_output_file, read_any, write_image

    check_output_file(options.output)
    transform = read_transform(options.transform)
    moving, like = read_any(options.moving, "The image"), read_any(options.like, "The reference image")
    if options.inverse:
        transform = inverse(transform, like)
    write_image(resample(moving, like, transform, labels=options.labels), options.output)


def _add_info(commands: argparse._SubParsersAction) -> None:
    command = add_command(
        commands, "info", _info, "Say what is installed: version, devices, weights and their licence."
    )
    command.add_argument("--model", metavar="FILE", help="weights (.safetensors) instead of the shipped ones")
    command.add_argument("--json", action="store_true", help="as JSON, with the whole card of the weights")


def _info(options: argparse.Namespace) -> None:
    import platform

    import SimpleITK as sitk
    import torch

    from .weights import load_network

    network, card = load_network(options.model)
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append(f"cuda ({torch.cuda.get_device_name()})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    facts = {
        "ulae": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "devices": devices,
        "threads": torch.get_num_threads(),
        "weights": card.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "licence": card.licence,
    }
    if options.json:
        print(json.dumps({**facts, "card": card.details}, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:12} {', '.join(value) if isinstance(value, list) else value}")


def _add_demo(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "demo", _demo, "Register a simulated subject whose deformation is known.")
    command.add_argument("-o", "--output", default="demo", metavar="FOLDER", help="default: demo")
    command.add_argument("--preset", choices=PRESETS, default="accurate", help="default: accurate")


def _demo(options: argparse.Namespace) -> None:
    from .demo import run, true_error

    with progress_bar(False) as progress:
        pair, registration = run(Path(options.output), options.preset, progress)
    import SimpleITK as sitk

    untouched = true_error(pair, sitk.Transform(3, sitk.sitkIdentity))
    aligned = true_error(pair, registration.alignment.fixed_to_moving)
    registered = true_error(pair, registration.transform)
    print("true error in the brain, mm (mean, 95th percentile):")
    for name, error in (("as scanned", untouched), ("aligned", aligned), ("registered", registered)):
        print(f"  {name:11} {error.mean():6.2f} {sorted(error)[int(0.95 * len(error))]:6.2f}")
    _tell(registration, {})
    print(f"pictures and report: {Path(options.output) / 'report.html'}")

"""`ulae register`: register one pair."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .options import (
    Commands,
    UsageError,
    add_command,
    add_json,
    add_settings,
    check_apart,
    pair_name,
    progress_bar,
    settings_of,
)

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..result import Registration

RESULT_FILES = (  # of `save`, those that somebody may name
    "transform.h5",
    "warped.nii.gz",
    "warped_labels.nii.gz",
    "fixed_brain.nii.gz",
    "moving_brain.nii.gz",
)


def add_register(commands: Commands) -> None:
    """Add the command `ulae register`."""
    command = add_command(
        commands,
        "register",
        _register,
        "Register a moving brain scan to a fixed one.",
        "ulae register fixed.nii.gz moving.nii.gz -o result",
        "ulae register fixed.nii.gz moving.nii.gz --transform t.h5 --warped warped.nii.gz --preset fast",
        "ulae register fixed.nii.gz moving.nii.gz --moving-labels seg.nii.gz -o result",
        "ulae register fixed.nii.gz moving.nii.gz -o result --json > measures.json",
    )
    command.add_argument("fixed", metavar="FIXED", help="the scan that stays")
    command.add_argument("moving", metavar="MOVING", help="the scan that is warped")
    command.add_argument("-o", "--output", metavar="FOLDER", help="write everything here, with a report")
    command.add_argument("--transform", metavar="FILE", help="write the transform (.h5, .nii.gz or .nrrd)")
    command.add_argument("--warped", metavar="FILE", help="write the warped moving scan (.nii.gz, .nrrd, .mha)")
    command.add_argument("--fixed-mask", metavar="FILE", help="the fixed scan's brain")
    command.add_argument("--moving-mask", metavar="FILE", help="the moving scan's brain")
    command.add_argument("--save-masks", metavar="FOLDER", help="write both brains, as given or found, here")
    command.add_argument("--moving-labels", metavar="FILE", help="a label map of the moving scan to carry along")
    command.add_argument("--warped-labels", metavar="FILE", help="where to write it (default: in the output folder)")
    command.add_argument("--fixed-labels", metavar="FILE", help="a label map of the fixed scan: reports Dice")
    command.add_argument("--initial-transform", metavar="FILE", help="where the alignment starts (fixed to moving)")
    add_settings(command)
    add_json(command)


def _register(options: argparse.Namespace) -> None:
    files = (options.output, options.transform, options.warped, options.warped_labels, options.save_masks)
    targets = (*files, options.fixed_labels, options.json or None)
    if not any(targets):
        raise UsageError("Nothing would be kept; say where to write: -o FOLDER, --transform or --warped FILE.")
    if options.warped_labels and not options.moving_labels:
        raise UsageError("--warped-labels needs the label map to warp; give it with --moving-labels FILE.")
    if options.moving_labels and not (options.warped_labels or options.output or options.fixed_labels):
        raise UsageError("The warped label map has no place; give --warped-labels FILE or -o FOLDER.")
    if options.save_masks and options.brain == "skip" and not (options.fixed_mask and options.moving_mask):
        raise UsageError("With --brain skip no brain is found that --save-masks could write; leave out one of the two.")
    if options.fixed_labels and not options.moving_labels:
        raise UsageError("--fixed-labels is compared with the warped labels; give --moving-labels FILE too.")
    settings = settings_of(options)
    _check_places(options)
    from ..both import for_both
    from ..files.transforms import TRANSFORM_EXTENSIONS, read_transform
    from ..files.volumes import read_labels, read_mask, read_volume
    from ..files.writing import check_output_file, check_output_folder
    from ..geometry.alignment import initial_matrix

    for folder in filter(None, (options.output, options.save_masks)):
        check_output_folder(folder)
    if options.transform:
        check_output_file(options.transform, TRANSFORM_EXTENSIONS)
    for file in filter(None, (options.warped, options.warped_labels)):
        check_output_file(file)
    fixed, moving = for_both(read_volume, (options.fixed, "fixed"), (options.moving, "moving"))
    labels = options.moving_labels and read_labels(options.moving_labels, moving, "moving")
    fixed_labels = options.fixed_labels and read_labels(options.fixed_labels, fixed, "fixed")
    fixed_mask = None if options.fixed_mask is None else read_mask(options.fixed_mask, fixed, "fixed")
    moving_mask = None if options.moving_mask is None else read_mask(options.moving_mask, moving, "moving")
    initial_transform = None if options.initial_transform is None else read_transform(options.initial_transform)
    if initial_transform is not None:
        initial_matrix(initial_transform)
    if options.model is not None:
        from ..network.weights import load_network

        load_network(options.model)

    with progress_bar(options.quiet or options.json, pair_name(options.fixed, options.moving)) as progress:
        # All that may be refused has been looked at, so that a refusal is one line. What follows loads torch, which
        # takes more than a second.
        progress(0.0, "Starting")
        from ..loading import load_torch

        load_torch()
        from ..registration import register

        registration = register(
            fixed,
            moving,
            settings,
            fixed_mask=fixed_mask,
            moving_mask=moving_mask,
            initial_transform=initial_transform,
            progress=progress,
        )
    _write_results(options, registration, fixed_labels=fixed_labels, moving_labels=labels)


def _write_results(
    options: argparse.Namespace,
    registration: Registration,
    *,
    fixed_labels: sitk.Image | None,
    moving_labels: sitk.Image | None,
) -> None:
    """Write what the options ask for, and print the verdict and the main measures."""
    from ..files.transforms import write_transform
    from ..files.volumes import write_image
    from ..geometry.brain import brain_mask
    from .result_text import overlap_before_and_after, print_result
    from .results import Results

    with Results() as results:
        warped_labels, place = registration.warp_labels(moving_labels) if moving_labels else None, None
        if options.output:
            kept = None if options.warped_labels else warped_labels
            place = results.write(partial(registration.save, warped_labels=kept), options.output)
            registration = registration.with_inverse_measured()
        write_map = partial(write_transform, registration.transform, fixed=registration.fixed)
        write_warped = partial(write_image, registration.warped)
        results.write_side_by_side([(write_map, options.transform), (write_warped, options.warped)])
        if options.save_masks:
            # Both are written always, so that none of an earlier run remains; a stripped scan's is its foreground.
            masks = {"fixed": registration.fixed_mask, "moving": registration.moving_mask}
            for role, image in (("fixed", registration.fixed), ("moving", registration.moving)):
                mask = brain_mask(image) if masks[role] is None else masks[role]
                results.write(partial(write_image, mask), Path(options.save_masks) / f"{role}_brain.nii.gz")
        measures = {**registration.quality_record(), "model": registration.card.name}
        if options.warped_labels:
            results.write(partial(write_image, warped_labels), options.warped_labels)
        if fixed_labels:
            measures |= overlap_before_and_after(registration, fixed_labels, moving_labels, warped_labels)
        if options.json:
            print(json.dumps(measures, indent=2))
        elif not options.quiet:
            print_result(registration, measures)
            if place:
                print(f"pictures and report: {place / 'report.html'}")


def _check_places(options: argparse.Namespace) -> None:
    """Refuse outputs that would overwrite what is read, or one another.

    Brain masks are exempt in a result's folder, which has them again.
    """
    scans = (options.fixed, options.moving, options.moving_labels, options.fixed_labels, options.initial_transform)
    files = (options.transform, options.warped, options.warped_labels)
    check_apart(files, (*scans, options.fixed_mask, options.moving_mask))
    if options.output:
        check_apart((*files, *files_of_result(Path(options.output))), scans)
    if options.save_masks:
        masks = (Path(options.save_masks) / f"{role}_brain.nii.gz" for role in ("fixed", "moving"))
        check_apart((*files, *masks), scans)


def files_of_result(folder: Path) -> list[Path]:
    """List the files of a result's folder that somebody may name: what `save` writes, and what an earlier one wrote."""
    from ..files.writing import recorded_files

    return [folder / name for name in {*RESULT_FILES, *recorded_files(folder)}]

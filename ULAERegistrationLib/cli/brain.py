"""`ulae brain`: find the brain in a scan."""

from __future__ import annotations

import argparse
import json

from .options import Commands, add_command, add_json, check_apart


def add_brain(commands: Commands) -> None:
    """Add the command `ulae brain`."""
    command = add_command(
        commands,
        "brain",
        _brain,
        "Find the brain in a scan of a head, and write its mask.",
        "ulae brain head.nii.gz -o head_brain.nii.gz",
        "ulae brain head.nii.gz -o head_brain.nii.gz --json",
    )
    command.add_argument("scan", metavar="SCAN", help="a scan of a head, any contrast and orientation")
    command.add_argument("-o", "--output", required=True, metavar="MASK", help=".nii.gz, .nrrd or .mha")
    command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
    add_json(command)


def _brain(options: argparse.Namespace) -> None:
    # Imported here because these load torch and SimpleITK, which would delay the help of the command line.
    from ..files.volumes import read_volume, write_image
    from ..files.writing import check_output_file
    from ..geometry.brain import volume_litres
    from ..geometry.cut import cut_sides
    from ..network.brain_extraction import extract_brain

    check_apart([options.output], [options.scan])
    check_output_file(options.output)
    mask = extract_brain(read_volume(options.scan, "scanned"))
    write_image(mask, options.output)
    litres, sides = volume_litres(mask), cut_sides(mask)
    if options.json:
        print(json.dumps({"mask": options.output, "litres": round(litres, 4), "cut_off_at": list(sides)}, indent=2))
    elif not options.quiet:
        print(f"brain of {litres:.2f} litres: {options.output}")
        if sides:
            print(f"cut off by the field of view at: {', '.join(sides)}")

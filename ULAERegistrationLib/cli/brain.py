"""`ulae brain`: find the brain in a scan."""

from __future__ import annotations

import argparse

from ..settings import EXTRACTORS
from .options import Commands, add_command


def add_brain(commands: Commands) -> None:
    """Add the command `ulae brain`."""
    command = add_command(commands, "brain", _brain, "Find the brain in a scan of a head, and write its mask.")
    command.add_argument("scan", metavar="SCAN", help="a scan of a head, any contrast and orientation")
    command.add_argument("-o", "--output", required=True, metavar="MASK", help=".nii.gz, .nrrd or .mha")
    command.add_argument("--extractor", choices=EXTRACTORS, default="ulae", help="default: ulae")
    command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")


def _brain(options: argparse.Namespace) -> None:
    # Imported here because these load torch and SimpleITK, which would delay the help of the command line.
    from ..files.volumes import read_volume, write_image
    from ..files.writing import check_output_file
    from ..geometry.brain import cut_sides, volume_litres
    from ..network.extractors import extract_brain_with

    check_output_file(options.output)
    mask = extract_brain_with(options.extractor, read_volume(options.scan, "scanned"))
    write_image(mask, options.output)
    if options.quiet:
        return
    print(f"brain of {volume_litres(mask):.2f} litres: {options.output}")
    if sides := cut_sides(mask):
        print(f"cut off by the field of view at: {', '.join(sides)}")

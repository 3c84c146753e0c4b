"""`ulae apply`: warp an image or a label map with a transform."""

from __future__ import annotations

import argparse

from .options import Commands, add_command


def add_apply(commands: Commands) -> None:
    """Add the command `ulae apply`."""
    command = add_command(commands, "apply", _apply, "Warp another image, or a label map, with a transform.")
    command.add_argument("transform", metavar="TRANSFORM", help=".h5 or .nii.gz, as `ulae register` writes it")
    command.add_argument("moving", metavar="MOVING", help="what is warped")
    command.add_argument("--like", required=True, metavar="FIXED", help="the image whose grid the result has")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help=".nii.gz, .nrrd or .mha")
    command.add_argument("--labels", action="store_true", help="a label map: nearest neighbour")
    command.add_argument("--inverse", action="store_true", help="the other way, from fixed to moving")


def _apply(options: argparse.Namespace) -> None:
    from ..files.transforms import read_transform
    from ..files.volumes import read_any, read_any_labels, write_image
    from ..files.writing import check_output_file
    from ..geometry.inverse import inverse
    from ..geometry.resampling import resample

    check_output_file(options.output)
    transform = read_transform(options.transform)
    read = read_any_labels if options.labels else read_any
    moving, like = read(options.moving, "The image"), read_any(options.like, "The reference image")
    if options.inverse:
        transform = inverse(transform, like)
    write_image(resample(moving, like, transform, labels=options.labels), options.output)

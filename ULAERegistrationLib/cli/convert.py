"""`ulae convert`: write a transform in the form that another program reads."""

from __future__ import annotations

import argparse
import json

from .options import Commands, UsageError, add_command, add_json, check_apart

NOTES = """\
  .h5      ITK's: any transform; SimpleITK, ANTs and Slicer read it
  .nii.gz  a displacement field as ANTs writes its warps
  .nrrd    a displacement field as Slicer writes a grid transform

Displacements are LPS mm in all of them. A field needs --like, the image whose grid it covers: the fixed one, or the
moving one for an inverse. A transform that is a field already keeps its own grid without it, but for its inverse;
beyond a field the map is the identity. Any transform that ITK reads can be converted.

"""


SPACINGS = (0.2, 10.0)  # mm; a finer field does not fit into memory, a coarser one says too little of the map


def add_convert(commands: Commands) -> None:
    """Add the command `ulae convert`."""
    command = add_command(
        commands,
        "convert",
        _convert,
        "Write a transform in the form that another program reads.",
        "ulae convert result/transform.h5 warp.nii.gz --like fixed.nii.gz",
        "ulae convert result/transform.h5 grid.nrrd --like fixed.nii.gz --spacing 2",
        "ulae convert result/transform.h5 inverse.h5 --inverse",
        "ulae convert ants1Warp.nii.gz transform.h5",
    )
    command.epilog = NOTES + (command.epilog or "")
    command.add_argument("transform", metavar="TRANSFORM", help="any transform that ITK reads, or a displacement field")
    command.add_argument("output", metavar="OUT", help=".h5, .nii.gz or .nrrd")
    command.add_argument("--like", metavar="FIXED", help="the image whose grid a field covers; MOVING for --inverse")
    command.add_argument("--spacing", type=float, metavar="MM", help="of these samples; default: 1")
    command.add_argument("--inverse", action="store_true", help="write the inverse, moving to fixed")
    add_json(command)


def _convert(options: argparse.Namespace) -> None:
    from ..files.transforms import TRANSFORM_EXTENSIONS, read_transform, write_transform
    from ..files.volumes import read_any
    from ..files.writing import check_output_file
    from ..geometry.inverse import inverse

    spacing = 1.0 if options.spacing is None else options.spacing
    if not SPACINGS[0] <= spacing <= SPACINGS[1]:
        raise UsageError(f"The spacing of a field is {SPACINGS[0]:g} to {SPACINGS[1]:g} mm; give such a number.")
    if options.spacing is not None and not options.like:
        raise UsageError("--spacing is that of samples over an image; give that image too (--like).")
    if options.like and options.output.lower().endswith(".h5"):
        raise UsageError("A file .h5 holds the transform as it is; leave out --like and --spacing.")
    check_apart([options.output], [options.transform, options.like])
    check_output_file(options.output, TRANSFORM_EXTENSIONS)
    like = read_any(options.like, "The reference image") if options.like else None
    transform = read_transform(options.transform)
    if options.inverse:
        transform = inverse(transform)
    write_transform(transform, options.output, like, spacing)
    if options.json:
        kind = read_transform(options.output).GetName()
        print(json.dumps({"output": options.output, "kind": kind, "inverse": options.inverse}, indent=2))

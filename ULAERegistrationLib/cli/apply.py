"""`ulae apply`: warp an image or a label map with a transform, or carry points."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from .options import Commands, UsageError, add_command, add_json, check_apart

if TYPE_CHECKING:
    import SimpleITK as sitk

DIRECTION = """\
What belongs to the moving image is carried to the fixed image; with --inverse the other way. This holds for images,
label maps and points alike. The transform itself maps points of the fixed image to the moving one, so points of the
moving image take its inverse, which is found point by point.

A label map keeps its values. By nearest neighbour each voxel gets the label at its place, which suits most uses. With
--interpolation linear it gets the label with the largest share around that place (GenericLabel of ANTs): outlines are
smoother where the label map is coarser than the result, but parts thinner than a voxel may vanish, and it takes longer
the more labels there are.

"""


def add_apply(commands: Commands) -> None:
    """Add the command `ulae apply`."""
    command = add_command(
        commands,
        "apply",
        _apply,
        "Warp another image, a label map, or points with a transform.",
        "ulae apply result/transform.h5 other.nii.gz --like fixed.nii.gz -o other_on_fixed.nii.gz",
        "ulae apply result/transform.h5 other.nii.gz --like fixed.nii.gz --interpolation cubic -o cubic.nii.gz",
        "ulae apply result/transform.h5 atlas.nii.gz --like moving.nii.gz --inverse --labels -o atlas_on_moving.nii.gz",
        "ulae apply result/transform.h5 seg.nii.gz --like fixed.nii.gz --labels --interpolation linear -o out.nii.gz",
        "ulae apply result/transform.h5 --points landmarks.mrk.json -o landmarks_on_fixed.mrk.json",
    )
    command.epilog = DIRECTION + (command.epilog or "")
    command.add_argument("transform", metavar="TRANSFORM", help="any transform that ITK reads, or a displacement field")
    command.add_argument("moving", metavar="MOVING", nargs="?", help="the image that is warped")
    command.add_argument("--like", metavar="FIXED", help="the image whose grid the result has")
    command.add_argument(
        "--points",
        metavar="FILE",
        help="points to carry instead of an image: .csv (columns x, y, z in LPS mm, as ANTs), .fcsv or .mrk.json",
    )
    command.add_argument("-o", "--output", required=True, metavar="OUT", help=".nii.gz, .nrrd or .mha; as FILE")
    command.add_argument("--labels", action="store_true", help="a label map: it keeps its values")
    command.add_argument(
        "--interpolation",
        choices=("linear", "cubic", "nearest"),
        help="of an image; default: linear. Of a label map nearest (default) or linear",
    )
    command.add_argument("--inverse", action="store_true", help="the other way, from fixed to moving")
    add_json(command)


def _apply(options: argparse.Namespace) -> None:
    if options.points and (options.moving or options.like or options.labels or options.interpolation):
        raise UsageError("--points carries points alone; leave out the image, --like, --labels and --interpolation.")
    if options.labels and options.interpolation == "cubic":
        raise UsageError("Cubic sampling would make values between the labels; take nearest or linear for a label map.")
    if not options.points and not (options.moving and options.like):
        raise UsageError("Give an image and --like FIXED for the grid of the result, or --points FILE.")
    check_apart([options.output], [options.transform, options.moving, options.like, options.points])
    outcome = _carry_points(options) if options.points else _warp(options)
    if options.json:
        print(json.dumps({"output": options.output, "inverse": options.inverse, **outcome}, indent=2))


def _warp(options: argparse.Namespace) -> dict[str, object]:
    from ..applying import apply_transform
    from ..files.transforms import read_transform
    from ..files.volumes import read_any, write_image
    from ..files.writing import check_output_file

    check_output_file(options.output)
    transform, image = read_transform(options.transform), read_any(options.moving, "The image")
    if not options.labels and options.interpolation != "nearest" and _may_be_labels(image):
        print(f"ulae: {options.moving} may be a label map; give --labels to keep its values.", file=sys.stderr)
    warped = apply_transform(
        transform,
        image,
        options.like,
        labels=options.labels,
        interpolation=options.interpolation,
        inverse=options.inverse,
    )
    write_image(warped, options.output)
    how = options.interpolation or ("nearest" if options.labels else "linear")
    return {"size": warped.GetSize(), "spacing": warped.GetSpacing(), "interpolation": how}


def _may_be_labels(image: sitk.Image) -> bool:
    """Tell whether an image holds whole numbers, and most voxels that are not 0 have the number of the next one."""
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    same, shown = values[1:] == values[:-1], values[1:] != 0
    return values.dtype.kind in "iu" and bool(2 * (same & shown).sum() > shown.sum())


def _carry_points(options: argparse.Namespace) -> dict[str, object]:
    from ..applying import apply_transform_to_points
    from ..files.points import read_points, write_points
    from ..files.transforms import read_transform
    from ..files.writing import check_output_file

    file = read_points(options.points)
    check_output_file(options.output, (file.extension,))
    transform = read_transform(options.transform)
    carried = apply_transform_to_points(transform, file.points, inverse=options.inverse)
    write_points(carried, file, options.output)
    return {"points": len(carried), "lps": carried.round(6).tolist()}

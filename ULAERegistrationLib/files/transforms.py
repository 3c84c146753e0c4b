"""Read and write transform files. The world is LPS millimetres; all transforms are pull-backs, as ITK's are."""

from __future__ import annotations

import os
from pathlib import Path

import SimpleITK as sitk

from ..errors import RegistrationError
from ..geometry.transforms import displacement_field, field_transform
from .writing import check_input_file, check_output_file, whole_or_nothing

TRANSFORM_EXTENSIONS = (".h5", ".nii.gz", ".nrrd")
FIELD_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")  # of images, which hold displacement fields


def write_transform(
    transform: sitk.Transform, path: str | os.PathLike, fixed: sitk.Image | None = None, spacing: float = 1.0
) -> None:
    """Write a transform to ITK's `.h5` or, as a vector image (LPS mm), to `.nii.gz` or `.nrrd`; whole or not at all.

    An image can hold a displacement field only, so any other transform is sampled over the fixed image for it; beyond
    that field the map is the identity. ANTs writes its warps as `.nii.gz`, Slicer its grid transforms as `.nrrd`. The
    `.nii.gz` has NIfTI's intent code 1007, as ANTs writes it: with code 1006 ITK 5.4 and newer would flip the signs of
    x and y on reading, and older versions would not.

    Args:
        transform: fixed world to moving world (LPS mm).
        path: of the file.
        fixed: the image over which a transform that is no displacement field is sampled for an image.
        spacing: of these samples, mm.

    Raises:
        RegistrationError: for another extension, for an image and a transform that is not a displacement field where no
            fixed image is given, or where the file cannot be written.
    """
    path = check_output_file(path, TRANSFORM_EXTENSIONS)
    if path.name.lower().endswith(".h5"):
        with whole_or_nothing(path) as partial:
            sitk.WriteTransform(transform, str(partial))
        return
    transform = transform.Downcast()
    if isinstance(transform, sitk.DisplacementFieldTransform):
        field = sitk.Cast(transform.GetDisplacementField(), sitk.sitkVectorFloat32)
    elif fixed is not None:
        field = displacement_field(transform, fixed, spacing)
    else:
        raise RegistrationError(
            f"{path.name} can hold a displacement field only; give the image that it covers, or end its name with .h5 "
            f"instead."
        )
    with whole_or_nothing(path) as partial:
        sitk.WriteImage(field, str(partial), useCompression=True)


def read_transform(path: str | os.PathLike) -> sitk.Transform:
    """Read a transform (LPS mm) of any of ITK's classes; an image, such as `.nii.gz`, holds a displacement field.

    Raises:
        RegistrationError: where the file is missing, cannot be read, or is not a 3-D transform, or where a linear
            transform has no inverse.
    """
    path = Path(path)
    check_input_file(path, "The transform")
    try:
        if not path.name.lower().endswith(FIELD_EXTENSIONS):
            return _three_dimensional(sitk.ReadTransform(str(path)).Downcast(), path)
        field = sitk.ReadImage(str(path))
    except RuntimeError:
        raise RegistrationError(
            f"{path} is not a transform that ITK can read; give an .h5, .nii.gz or .nrrd file."
        ) from None
    if field.GetDimension() != 3 or field.GetNumberOfComponentsPerPixel() != 3:
        raise RegistrationError(f"{path} is not a displacement field of three components; choose another file.")
    return field_transform(field)


def _three_dimensional(transform: sitk.Transform, path: Path) -> sitk.Transform:
    """Refuse a transform that is not three-dimensional, and a linear one without an inverse."""
    if transform.GetDimension() != 3:
        raise RegistrationError(f"The transform {path} has {transform.GetDimension()} dimensions; give one of three.")
    if transform.IsLinear():
        try:
            transform.GetInverse()
        except RuntimeError:
            raise RegistrationError(f"The transform {path} has no inverse; give another one.") from None
    return transform

"""Read and write transform files. The world is LPS millimetres; all transforms are pull-backs, as ITK's are."""

from __future__ import annotations

import os
import tempfile
from functools import reduce
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from ..geometry.affine import has_inverse, to_matrix, to_transform
from ..geometry.transforms import displacement_field, field_transform, parts_of
from .h5_transforms import PLACES, fields_of, write_h5
from .itk import HDF5, itk_files
from .reading import read_image
from .transform_headers import TEXT, look_at_transform
from .writing import check_input_file, check_output_file, whole_or_nothing
from .written import write_checked

TRANSFORM_EXTENSIONS = (".h5", ".nii.gz", ".nrrd")
FIELD_EXTENSIONS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")  # of images, which hold displacement fields


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
        fixed: the image over which the transform is sampled for an image; None keeps a displacement field as it is.
        spacing: of these samples, mm.

    Raises:
        RegistrationError: for another extension, for an image and a transform that is not a displacement field where no
            fixed image is given, or where the file cannot be written.
    """
    path = check_output_file(path, TRANSFORM_EXTENSIONS)
    if path.name.lower().endswith(".h5"):
        with whole_or_nothing(path) as partial, itk_files(), HDF5:
            write_h5(transform, partial)
        return
    transform = transform.Downcast()
    if fixed is not None:
        field = displacement_field(transform, fixed, spacing)
    elif isinstance(transform, sitk.DisplacementFieldTransform):
        field = sitk.Cast(transform.GetDisplacementField(), sitk.sitkVectorFloat32)
    else:
        raise RegistrationError(
            f"{path.name} can hold a displacement field only; give the image that it covers, or end its name with .h5 "
            f"instead."
        )
    with whole_or_nothing(path) as partial:
        write_checked(field, partial)


def read_transform(path: str | os.PathLike) -> sitk.Transform:
    """Read a transform (LPS mm) of any of ITK's classes; an image, such as `.nii.gz`, holds a displacement field.

    Raises:
        RegistrationError: where the file is missing, cannot be read, or is not a 3-D transform of finite numbers, or
            where a linear transform has no inverse.
    """
    path = Path(path)
    check_input_file(path, "The transform")
    if path.name.lower().endswith(FIELD_EXTENSIONS):
        field = read_image(path, "The transform", finite=True)
        if field.GetDimension() != 3 or field.GetNumberOfComponentsPerPixel() != 3:
            raise RegistrationError(f"{path} is not a displacement field of three components; choose another file.")
        if not np.isfinite(sitk.GetArrayViewFromImage(field)).all():
            raise _no_numbers(path)
        return field_transform(field)
    try:
        beginning = look_at_transform(path)
        with itk_files(), HDF5:
            return _usable(_read(path, beginning), path)
    except (OSError, RuntimeError, ValueError):  # ITK's own message may hold bytes of the file
        raise RegistrationError(
            f"{path} is not a transform that ITK can read; give an .h5, .nii.gz or .nrrd file."
        ) from None


def _read(path: Path, beginning: bytes) -> sitk.Transform:
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        if "is not of type" not in str(error) or not beginning.startswith(TEXT):
            raise
    # SimpleITK cannot give out a CenteredAffineTransform, say, unless it is a part of a composite transform.
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        copy = Path(folder) / "copy.tfm"
        first, _, rest = beginning.partition(b"\n")
        copy.write_bytes(first + b"\n#Transform 0\nTransform: CompositeTransform_double_3_3\n" + rest)
        return sitk.ReadTransform(str(copy))


def _usable(transform: sitk.Transform, path: Path) -> sitk.Transform:
    """Return a transform in its own class, after a look at its dimension and numbers, and at a linear one's inverse."""
    if transform.GetDimension() != 3:
        raise RegistrationError(f"The transform {path} has {transform.GetDimension()} dimensions; give one of three.")
    if not np.isfinite([transform.TransformPoint(place) for place in PLACES]).all():
        raise _no_numbers(path)
    if transform.IsLinear() and not has_inverse(to_matrix(transform)):
        raise RegistrationError(f"The transform {path} has no inverse; give another one.")
    own = _in_own_class(transform, path)
    if not all(np.isfinite(sitk.GetArrayViewFromImage(field)).all() for field in fields_of(parts_of(own))):
        raise _no_numbers(path)
    return own


def _in_own_class(transform: sitk.Transform, path: Path) -> sitk.Transform:
    """Return a transform in SimpleITK's class for it; linear ones of other ITK classes, and such parts, become affine.

    SimpleITK reads a CenteredAffineTransform, say, and cannot give it out.
    """
    try:
        own = transform.Downcast()
    except RuntimeError:
        return to_transform(to_matrix(transform)) if transform.IsLinear() else transform
    if not isinstance(own, sitk.CompositeTransform):
        return own
    parts: list[sitk.Transform] = []
    for number in range(own.GetNumberOfTransforms()):
        try:
            parts.append(own.GetNthTransform(number).Downcast())
        except RuntimeError:
            upto = sitk.CompositeTransform(own)
            for _ in range(own.GetNumberOfTransforms() - number - 1):
                upto.RemoveTransform()
            if not upto.IsLinear():
                raise RegistrationError(
                    f"The transform {path} holds a part of a class that is not read here, which is not linear or "
                    f"follows one that is not; store the transform as a displacement field."
                ) from None
            # The parts up to this one, less those before it.
            before = reduce(np.matmul, map(to_matrix, parts), np.eye(4))
            parts.append(to_transform(np.linalg.inv(before) @ to_matrix(upto)))
    return sitk.CompositeTransform(parts)


def _no_numbers(path: Path) -> RegistrationError:
    return RegistrationError(f"The transform {path} has parameters that are no numbers; give another one.")

"""Write images by ITK, and look at what was written: on a full disk, ITK may write half a file without an error."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry.orientation import FORMS, KEYS, SAME_MM, stored_forms
from .itk import itk_files
from .nifti import read_nifti_header, write_forms
from .reading import check_voxels
from .text_headers import LONGEST
from .writing import itk_reason, partial_name

ITK_CODES = (1, 1)  # of qform and sform, in every NIfTI file that ITK writes
INCOMPLETE = "what was written is incomplete, so the disk may be full"
FORMATS = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}  # that are written, beside NIfTI
LEVEL = 6  # of compression, zlib's and ITK's own


def write_checked(image: sitk.Image, path: Path, compress: bool = True) -> None:
    """Write an image, and compare the file with it.

    A NIfTI file gets the orientations of the header that the image carries (see `geometry.orientation`).

    Args:
        image: to write.
        path: of the file, which is overwritten.
        compress: whether to compress it where the format can; `.nii.gz` always is.

    Raises:
        OSError: where it could not be written.
    """
    try:
        with itk_files():
            _write(image, path, compress)
            check_written(image, path)
    except RuntimeError as error:
        raise OSError(errno.EIO, itk_reason(error)) from error


def check_written(image: sitk.Image, path: Path) -> None:
    """Compare a file with the image that was written to it: its header and its last slice, and how long it is.

    Of a vector image in NIfTI, the header, the length and the sum of its compressed bytes are looked at alone.

    Raises:
        OSError: where they differ.
    """
    try:
        if _is_plain_nrrd_of(image, path):
            return
        header = read_nifti_header(path)
        if header is not None:
            check_voxels(header, "The file", finite=False)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(FORMATS.get(path.suffix.lower(), "NiftiImageIO"))  # see `files.itk.HDF5`
        reader.SetFileName(os.fspath(path))
        reader.ReadImageInformation()
        size = image.GetSize()
        if reader.GetSize() != size or reader.GetNumberOfComponents() != image.GetNumberOfComponentsPerPixel():
            raise EOFError
        # Reading a part of a vector image, ITK 5.4 writes beyond the memory that it has; whole ones are large.
        if reader.GetNumberOfComponents() > 1 and header is not None:
            return
        if reader.GetNumberOfComponents() == 1:
            reader.SetExtractIndex([*[0] * (len(size) - 1), size[-1] - 1])
            reader.SetExtractSize([*size[:-1], 1])
        last = sitk.GetArrayFromImage(reader.Execute())[-1]
        if not np.array_equal(last, sitk.GetArrayViewFromImage(image)[-1], equal_nan=last.dtype.kind == "f"):
            raise EOFError
    except (EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise OSError(errno.EIO, INCOMPLETE) from error


def _is_plain_nrrd_of(image: sitk.Image, path: Path) -> bool:
    """Tell whether an uncompressed NRRD file is as long as an image and ends with its last slice.

    So the large files between two processes need not be read again. It is False of all other files.
    """
    values = sitk.GetArrayViewFromImage(image)
    with path.open("rb") as file:
        header, blank_line, _ = file.read(LONGEST).partition(b"\n\n")
        if not header.startswith(b"NRRD") or b"\nencoding: raw" not in header:
            return False
        if path.stat().st_size != len(header) + len(blank_line) + values.nbytes:
            return False
        file.seek(-values[-1].nbytes, os.SEEK_END)
        return file.read() == values[-1].tobytes()


def _write(image: sitk.Image, path: Path, compress: bool) -> None:
    is_nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    forms = stored_forms(image) if is_nifti else None
    if not is_nifti and any(image.HasMetaDataKey(key) for key in KEYS):  # they would say nothing true in other headers
        image = sitk.Cast(image, image.GetPixelID())  # a copy without them; erased from one, they go from the other too
    if forms is None or not forms.kept or (forms.codes == ITK_CODES and forms.apart_mm <= SAME_MM):
        sitk.WriteImage(image, os.fspath(path), useCompression=compress)
        return
    other = None
    if forms.apart_mm > SAME_MM:
        index = 1 - FORMS.index(forms.taken)
        other = FORMS[index], forms.matrices[index]
    with tempfile.TemporaryDirectory(prefix=f"{partial_name()}-", dir=path.parent) as folder:
        plain = Path(folder) / "image.nii"
        sitk.WriteImage(image, os.fspath(plain))
        write_forms(plain, forms.codes, other)
        if not path.name.lower().endswith(".gz"):
            os.replace(plain, path)
            return
        with plain.open("rb") as source, path.open("wb") as target, gzip.GzipFile("", "wb", LEVEL, target, 0) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)

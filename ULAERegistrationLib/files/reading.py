"""Read an image file of any format that is read here, with the same checks for every format.

The format is told by the file's content, not by its name. A file is looked at before ITK reads it, because ITK hides
some faults (missing voxels become zeros), and fetches as much memory as a header asks for.
"""

from __future__ import annotations

import errno
import gzip
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError
from ..geometry.orientation import SHEAR_NOTABLE, STRAIGHTENED, check_shear, no_numbers, shear, straightened
from .dicom import is_dicom, read_dicom
from .hdf5 import MAGIC, is_cut_short
from .itk import HDF5, itk_files
from .mgh import ENDINGS as MGH_ENDINGS
from .mgh import read_mgh
from .nifti import GZIP, PAIR_ENDINGS, NiftiHeader, open_decompressed, pair_of, plain_header, read_nifti_header
from .text_headers import LONGEST, read_text_header
from .writing import check_input_file, itk_reason

FORMATS = "NIfTI, NRRD, MetaImage, MGH, MINC or DICOM"
NOT_FINITE = "has voxels that are NaN or infinite; replace them by its background value."
MOST_VOXELS = 1 << 30  # of 1024 x 1024 x 1024
CHUNK = 1 << 24  # bytes
NIFTI_ENDINGS = (".nii.gz", ".nii", *PAIR_ENDINGS)
MINC = (MAGIC, b"CDF")


def read_image(path: Path, name: str, finite: bool = False) -> sitk.Image:
    """Read an image file, or a DICOM series.

    Args:
        path: a file, or a folder with a DICOM series.
        name: of the image in messages, such as "The fixed image".
        finite: whether to refuse NaN and infinite voxels in formats where ITK reads them as zeros.

    Returns:
        The image as ITK reads it. Axes that are not quite at right angles are replaced by the nearest that are.

    Raises:
        RegistrationError: where the file is missing, cannot be read, is cut short, damaged, of another format, or too
            large, or where its axes are far from right angles.
    """
    check_input_file(path, name, or_folder=True)
    try:
        with itk_files():
            return straightened(_read(path, name, finite), name)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _damaged(path, name) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:  # of the folder for temporary files
            raise RegistrationError(
                f"{name} {path} has to be unpacked, for which {tempfile.gettempdir()} has no space; free some."
            ) from None
        raise _damaged(path, name) from None
    except UnicodeDecodeError:  # ITK's own message holds bytes of the file
        raise _damaged(path, name) from None
    except ValueError as error:
        raise _damaged(path, name, str(error)) from None
    except (struct.error, OverflowError):  # numbers of a header that no other header can hold
        raise _damaged(path, name) from None
    except RuntimeError as error:
        if "determinant is 0" in str(error):
            raise RegistrationError(
                f"{name} {path} has a header whose axes span no volume; correct its orientation."
            ) from None
        reason = itk_reason(error)
        # "Reason: No such file or directory" and the like are wrong: the file was opened.
        raise _damaged(path, name, "" if reason.startswith("Reason") else reason) from None


def _read(path: Path, name: str, finite: bool) -> sitk.Image:
    if path.is_dir():
        return read_dicom(path, name)
    header = read_nifti_header(path)
    if header is not None:
        return _read_nifti(header, path, name, finite)
    if path.name.lower().endswith(MGH_ENDINGS):
        return read_mgh(path, MOST_VOXELS)
    with path.open("rb") as file:
        beginning = file.read(LONGEST)
    text = read_text_header(path, beginning)
    if text is not None:
        _check_number(text.size, path, name)
        if text.available is not None and text.available < text.needed:
            raise EOFError
        kind = "NrrdImageIO" if beginning.startswith(b"NRRD") else "MetaImageIO"
        return _read_by_itk(path, kind)
    if is_dicom(beginning):
        return read_dicom(path, name)
    if beginning.startswith(MAGIC) and is_cut_short(beginning, path.stat().st_size):
        raise EOFError
    if beginning.startswith(MINC) and path.name.lower().endswith((".mnc", ".mnc2")):
        with HDF5:
            return _read_by_itk(path, "MINCImageIO")
    raise RegistrationError(f"{name} {path} is not a volume that is read here; give one in {FORMATS}, such as .nii.gz.")


def _read_nifti(header: NiftiHeader, path: Path, name: str, finite: bool) -> sitk.Image:
    """Read a NIfTI file by ITK: itself, or, where ITK cannot read it as it is, a copy that says the same plainly."""
    _check_number(header.size, path, name)
    if header.needs_right_angles:
        check_shear(header.sform[:3, :3], name)
    forms = ((header.qform_code, header.qform), (header.sform_code, header.sform))
    if not all(np.isfinite(form).all() for code, form in forms if code > 0):  # ITK's reader would never end
        raise no_numbers(name)
    if not header.sizes_fit:  # ITK would take either, and say nothing
        raise RegistrationError(
            f"{name} {path} has voxel sizes in its header (pixdim) that do not fit its orientation; correct the header."
        )
    check_voxels(header, name, finite)
    with open(path, "rb") as file:
        is_compressed = file.read(2) == GZIP
    endings = (".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz") if is_compressed else (".nii", ".hdr", ".img")
    # ITK refuses an ending in mixed case.
    is_plain = header.version < 2 and not header.needs_right_angles and path.name.endswith(endings)
    if is_plain and not _has_namesake(path):
        image = _read_by_itk(path, "NiftiImageIO")
    else:
        with _plain_copy(path, header) as copy:
            image = _read_by_itk(copy, "NiftiImageIO")
    image.SetMetaData("pixdim[0]", f"{header.handedness:g}")  # ITK forgets it
    found = shear(header.sform[:3, :3])
    if header.needs_right_angles and found > SHEAR_NOTABLE:
        image.SetMetaData(STRAIGHTENED, f"{100 * found:.2g}")
    return image


def _has_namesake(path: Path) -> bool:
    """Tell whether another NIfTI file lies beside one that differs in its ending alone.

    ITK 5.4 reads the voxels of `scan.nii` where it is given `scan.nii.gz`, if both are there.
    """
    stem = path.name[: -len(next(end for end in NIFTI_ENDINGS if path.name.lower().endswith(end)))]
    own = PAIR_ENDINGS if path.name.lower().endswith(PAIR_ENDINGS) else ()  # a header and its voxels belong together
    others = [stem + end for end in NIFTI_ENDINGS if end not in own]
    return any((path.parent / name).exists() for name in others if name != path.name)


@contextmanager
def _plain_copy(path: Path, header: NiftiHeader) -> Iterator[Path]:
    """Write a NIfTI file to a temporary NIfTI-1 file without compression, an Analyze pair to a pair."""
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        if header.version == 0:  # as NIfTI, bytes of its header would be an orientation that it does not have
            for file, name in zip(pair_of(path), ("copy.hdr", "copy.img"), strict=True):
                with (Path(folder) / name).open("wb") as target:
                    _copy_voxels(file, 0, target)
            yield Path(folder) / "copy.hdr"
            return
        copy = Path(folder) / "copy.nii"
        with copy.open("wb") as target:
            target.write(plain_header(header))
            _copy_voxels(header.file, header.start, target)
        yield copy


def _copy_voxels(file: Path, start: int, target: IO[bytes]) -> None:
    """Copy a file, decompressed, from a byte on."""
    with open_decompressed(file) as source:
        source.seek(start)
        while chunk := source.read(CHUNK):
            target.write(chunk)


def check_voxels(header: NiftiHeader, name: str, finite: bool) -> None:
    """Refuse a NIfTI file that has fewer voxels than it promises, or, with `finite`, such that are not finite."""
    missing = int(np.prod(header.size, dtype=float)) * header.voxel_bytes
    with open_decompressed(header.file) as file:
        file.seek(header.start)
        while missing > 0:
            chunk = file.read(min(CHUNK, missing))
            if not chunk:
                raise EOFError
            missing -= len(chunk)
            if finite and header.float_type:
                whole = len(chunk) - len(chunk) % header.voxel_bytes  # a file may end within a voxel
                values = np.frombuffer(chunk[:whole], header.float_type)
                if not np.isfinite(values).all():
                    raise RegistrationError(f"{name} {NOT_FINITE}")


def _read_by_itk(path: Path, kind: str) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(os.fspath(path))
    return reader.Execute()


def _check_number(size: tuple[int, ...], path: Path, name: str) -> None:
    if np.prod(size, dtype=float) > MOST_VOXELS:
        sides = " x ".join(map(str, size))
        raise RegistrationError(
            f"{name} {path} has {sides} voxels, which is more than 1024 x 1024 x 1024; resample it to larger voxels."
        )


def _damaged(path: Path, name: str, reason: str = "") -> RegistrationError:
    detail = f" ({reason})" if reason else ""
    return RegistrationError(f"{name} {path} is cut short or damaged{detail}; fetch the file again.")

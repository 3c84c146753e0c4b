"""Write ITK's .h5 transforms, with displacements in the 32 bits that a flow has.

SimpleITK stores all numbers in 64 bits, twice the size, and ITK reads either. So the file is written without its
displacement fields, which h5py adds where it is installed; Slicer's Python lacks it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import ModuleType

import numpy as np
import SimpleITK as sitk

from ..geometry.transforms import chain_of, parts_of
from .hdf5 import is_cut_short
from .text_headers import LONGEST
from .writing import check_room
from .written import INCOMPLETE

MARGIN = 1 << 16  # bytes, of an .h5 file beside the fields
# The origin and a millimetre along each axis: where a linear transform takes them tells all of it.
PLACES = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
FIELD = b"DisplacementFieldTransform"  # begins the type of such a part in the file


def write_h5(transform: sitk.Transform, path: Path) -> None:
    """Write a transform, and look at what was written. `itk.HDF5` has to be held.

    Args:
        transform: to write.
        path: of the file.

    Raises:
        OSError, RuntimeError: where it could not be written.
    """
    parts = parts_of(transform)  # ITK writes no chain that holds another, and one of no parts cannot be read
    fields = fields_of(parts)
    grids = [[*f.GetSize(), *f.GetOrigin(), *f.GetSpacing(), *f.GetDirection()] for f in fields]
    values = [_stored(field) for field in fields]
    check_room(path.parent, MARGIN + sum(array.nbytes for array in values))
    if values and all(array.dtype == np.float32 for array in values):
        sitk.WriteTransform(_with_empty_fields(parts), str(path))
        _add_fields(path, grids, values)
    else:
        sitk.WriteTransform(chain_of(parts), str(path))
    _check_written(transform, [array[-1].tobytes() for array in values], path)


def fields_of(parts: Sequence[sitk.Transform]) -> list[sitk.Image]:
    """Return the displacement fields among the parts of a transform."""
    return [part.GetDisplacementField() for part in parts if isinstance(part, sitk.DisplacementFieldTransform)]


def _stored(field: sitk.Image) -> np.ndarray:
    """Return the displacements of a field as they are stored: in 32 bits where that loses nothing and h5py is there."""
    exact = sitk.GetArrayViewFromImage(field)
    short = exact.astype(np.float32)
    return short if _h5py() is not None and np.array_equal(short, exact) else exact.copy()


def _h5py() -> ModuleType | None:
    try:
        import h5py
    except ModuleNotFoundError:  # in Slicer
        return None
    return h5py


def _with_empty_fields(parts: Sequence[sitk.Transform]) -> sitk.Transform:
    """Return a transform of these parts whose displacement fields have one voxel, so that writing it takes no time."""
    light = [
        sitk.DisplacementFieldTransform(sitk.Image([1, 1, 1], sitk.sitkVectorFloat64, 3))
        if isinstance(part, sitk.DisplacementFieldTransform)
        else part
        for part in parts
    ]
    return chain_of(light)


def _add_fields(path: Path, grids: Sequence[Sequence[float]], values: Sequence[np.ndarray]) -> None:
    """Replace the empty fields of a file by h5py, which is there.

    Args:
        path: of the file.
        grids: size, origin, spacing and direction of each field, in the order of the transform's parts.
        values: their displacements, [z, y, x, component], LPS mm.
    """
    import h5py

    with h5py.File(path, "r+") as file:
        groups = [group for _, group in sorted(file["TransformGroup"].items(), key=lambda item: int(item[0]))]
        places = [group for group in groups if bytes(group["TransformType"][0]).startswith(FIELD)]
        for group, grid, displacements in zip(places, grids, values, strict=True):
            for name, numbers in (("TransformParameters", displacements.ravel()), ("TransformFixedParameters", grid)):
                del group[name]
                group.create_dataset(name, data=numbers)


def _check_written(transform: sitk.Transform, ends: list[bytes], path: Path) -> None:
    """Look for the end of each field in a file; where there is none, read it again and compare where some points go.

    A field that is read again takes three times its memory.

    Args:
        transform: that was written.
        ends: the last plane of each of its displacement fields, as it is stored.
        path: of the file.

    Raises:
        OSError: where the file differs.
    """
    with path.open("rb") as file:
        if is_cut_short(file.read(LONGEST), path.stat().st_size):
            raise OSError(errno.EIO, INCOMPLETE)
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            is_whole = all(content.rfind(end) >= 0 for end in ends)
    if not ends:
        written = sitk.ReadTransform(str(path))
        # ITK computes the offset anew from a centre, which may change its last digit.
        there, here = ([one.TransformPoint(place) for place in PLACES] for one in (written, transform))
        is_whole = np.allclose(there, here, rtol=1e-9, atol=1e-9)
    if not is_whole:
        raise OSError(errno.EIO, INCOMPLETE)

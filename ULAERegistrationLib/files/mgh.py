"""Read FreeSurfer's .mgh and .mgz files, which ITK does not.

The format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. All numbers are big-endian; .mgz is the same
compressed by gzip.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .nifti import open_decompressed

ENDINGS = (".mgh", ".mgz")
VOXELS_START = 284
CHUNK = 1 << 24  # bytes
TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}
# Where no orientation is stored: coronal slices, as FreeSurfer itself takes it.
CORONAL = (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)


def read_mgh(path: Path, most_voxels: int) -> sitk.Image:
    """Read a volume; the frames of a file with several become a fourth dimension.

    Args:
        path: the file.
        most_voxels: refuse a file that promises more.

    Raises:
        ValueError: where the file is damaged, or larger than `most_voxels`.
        OSError, EOFError, zlib.error: where it cannot be read.
    """
    with open_decompressed(path) as file:
        header = file.read(VOXELS_START)
        if len(header) < VOXELS_START:
            raise ValueError("its header is cut short")
        version, *size, kind = struct.unpack_from(">6i", header)
        if version != 1 or kind not in TYPES or min(size) < 1:
            raise ValueError("its header is damaged")
        voxel = np.dtype(TYPES[kind])
        count = int(np.prod(size, dtype=np.float64))
        if count > most_voxels:
            raise ValueError(f"it promises {count:,} voxels")
        # In pieces, because a read of many bytes fetches memory for all of them, whether the file has them or not.
        pieces = []
        missing = count * voxel.itemsize
        while missing > 0 and (piece := file.read(min(missing, CHUNK))):
            pieces.append(piece)
            missing -= len(piece)
    data = b"".join(pieces)
    if len(data) < count * voxel.itemsize:
        raise ValueError("it is cut short")
    values = np.frombuffer(data, voxel).reshape(size[::-1]).astype(voxel.newbyteorder("="))
    has_orientation = struct.unpack_from(">h", header, 28)[0] == 1
    stored = struct.unpack_from(">15f", header, 30)
    spacing = np.array(stored[:3] if has_orientation else (1.0, 1.0, 1.0))
    axes = np.array(stored[3:12] if has_orientation else CORONAL).reshape(3, 3).T  # columns, RAS
    centre = np.array(stored[12:15] if has_orientation else (0.0, 0.0, 0.0))
    if not (np.isfinite([*spacing, *axes.ravel(), *centre]).all() and (spacing > 0).all()):
        raise ValueError("its orientation holds no numbers")
    to_lps = np.array([-1.0, -1.0, 1.0])
    origin = centre - axes @ (spacing * np.array(size[:3]) / 2)
    return _image(values, to_lps * origin, spacing, to_lps[:, None] * axes, has_orientation)


def _image(
    values: np.ndarray, origin: np.ndarray, spacing: np.ndarray, direction: np.ndarray, has_orientation: bool
) -> sitk.Image:
    """Make an image, LPS mm; without an orientation it says so as ITK's NIfTI reader does."""
    frames = [sitk.GetImageFromArray(frame) for frame in values]
    for frame in frames:
        frame.SetOrigin(origin.tolist())
        frame.SetSpacing(spacing.tolist())
        frame.SetDirection(direction.ravel().tolist())
    image = frames[0] if len(frames) == 1 else sitk.JoinSeries(frames)
    if not has_orientation:
        for key in ("qform_code", "sform_code"):
            image.SetMetaData(key, "0")
    return image

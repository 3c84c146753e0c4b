"""Headers of NIfTI files: where the voxels lie, and how the two orientations are stored.

ITK's reader hides some faults: it reads missing voxels, and NaN, as zeros, takes one of two orientations without saying
so, and reads neither NIfTI-2 nor a header whose axes are not quite at right angles.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..geometry.orientation import nearest_at_right_angles, qform_matrix, shear

HEADER_BYTES = 348
HEADER_BYTES_2 = 540
FLOATS = {16: "f4", 64: "f8"}  # data type codes
# Bytes of a voxel by data type code.
VOXEL_BYTES = {
    **{2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8},
    **{1536: 16, 1792: 16, 2048: 32, 2304: 4},
}
GZIP = b"\x1f\x8b"
PAIR_ENDINGS = (".hdr.gz", ".img.gz", ".hdr", ".img")
SIZES_FIT = 0.01  # by what fraction the voxel sizes of a header may differ from those of its sform
ITK_RIGHT_ANGLES = 1e-4  # ITK refuses an sform whose axes are further from right angles than this


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A header of NIfTI-1, NIfTI-2 or Analyze.

    Attributes:
        version: 0 for Analyze, which stores no orientation, else 1 or 2.
        file: where the voxels lie.
        start: of the voxels in that file, once decompressed.
        size: number of voxels along each axis.
        datatype: NIfTI's code.
        voxel_bytes: of a voxel.
        order: byte order, "<" or ">".
        qform, sform: matrices 4 x 4 from voxels to RAS mm.
        qform_code, sform_code: NIfTI's codes of the spaces they lead to; 0 where the header holds no such orientation.
        pixdim: voxel sizes along the first three axes, mm.
        raw: the bytes of the header.
    """

    version: int
    file: Path
    start: int
    size: tuple[int, ...]
    datatype: int
    voxel_bytes: int
    order: str
    qform: np.ndarray
    sform: np.ndarray
    qform_code: int
    sform_code: int
    pixdim: tuple[float, float, float]
    raw: bytes

    @property
    def float_type(self) -> str:
        """The voxels' type for numpy where it is a floating-point type that is checked, else empty."""
        return self.order + FLOATS[self.datatype] if self.datatype in FLOATS else ""

    @property
    def handedness(self) -> float:
        """The sign of qform's third axis, NIfTI's qfac: -1 or 1."""
        return 1.0 if np.linalg.det(self.qform[:3, :3]) >= 0 else -1.0

    @property
    def sizes_fit(self) -> bool:
        """Whether the voxel sizes are those of the orientation, where the header holds one."""
        if self.qform_code <= 0 and self.sform_code <= 0:
            return True
        sizes = np.array(self.pixdim)
        if not (sizes > 0).all():
            return False
        return self.sform_code <= 0 or np.allclose(np.linalg.norm(self.sform[:3, :3], axis=0), sizes, rtol=SIZES_FIT)

    @property
    def needs_right_angles(self) -> bool:
        """Whether the only orientation is one that ITK refuses because its axes are not at right angles."""
        return self.qform_code == 0 and self.sform_code > 0 and shear(self.sform[:3, :3]) > ITK_RIGHT_ANGLES


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """Read the header of a NIfTI-1, NIfTI-2 or Analyze file; None where the file is of another format.

    Raises:
        ValueError: where the header is one of these and damaged.
        OSError, EOFError: where the file, or the other one of a pair, cannot be read.
    """
    header_file, voxel_file = pair_of(path)
    with open_decompressed(header_file) as file:
        raw = file.read(HEADER_BYTES_2)
    if len(raw) < HEADER_BYTES:
        return None
    order = next((order for order in "<>" if struct.unpack_from(order + "i", raw)[0] in (348, 540)), None)
    if order is None:
        return None
    if struct.unpack_from(order + "i", raw)[0] == HEADER_BYTES_2:
        if raw[4:7] not in (b"n+2", b"ni2") or len(raw) < HEADER_BYTES_2:
            return None
        return _nifti_2(raw, order, voxel_file)
    magic = raw[344:348]
    if magic not in (b"n+1\0", b"ni1\0") and not path.name.lower().endswith(PAIR_ENDINGS):
        return None
    return _nifti_1(raw[:HEADER_BYTES], order, voxel_file, 1 if magic in (b"n+1\0", b"ni1\0") else 0)


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file, and decompress it while it is read where it is compressed by gzip, whatever its name."""
    with path.open("rb") as file:
        is_compressed = file.read(2) == GZIP
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # type: ignore[return-value]


def plain_header(header: NiftiHeader) -> bytes:
    """Return a NIfTI-1 header for the same voxels that ITK reads; they follow it at once.

    An sform whose axes are not at right angles is replaced by the nearest one whose axes are.

    Raises:
        ValueError: where a side has more voxels than NIfTI-1 can say.
    """
    if max(header.size) > 32767:
        raise ValueError("a side of more than 32,767 voxels")
    order, raw = header.order, bytearray(header.raw[:HEADER_BYTES])
    if header.version == 2:
        raw = bytearray(HEADER_BYTES)
        struct.pack_into(order + "i", raw, 0, HEADER_BYTES)
        struct.pack_into(order + "8h", raw, 40, len(header.size), *header.size, *[1] * (7 - len(header.size)))
        struct.pack_into(order + "h", raw, 68, struct.unpack_from(order + "i", header.raw, 504)[0])
        struct.pack_into(order + "2h", raw, 70, header.datatype, 8 * header.voxel_bytes)
        struct.pack_into(order + "8f", raw, 76, *struct.unpack_from(order + "8d", header.raw, 104))
        struct.pack_into(order + "2f", raw, 112, *struct.unpack_from(order + "2d", header.raw, 176))
        struct.pack_into(order + "B", raw, 123, struct.unpack_from(order + "i", header.raw, 500)[0] & 0xFF)
        struct.pack_into(order + "2h", raw, 252, header.qform_code, header.sform_code)
        struct.pack_into(order + "6f", raw, 256, *struct.unpack_from(order + "6d", header.raw, 352))
    struct.pack_into(order + "f", raw, 108, HEADER_BYTES + 4)
    sform = header.sform.copy()
    if header.needs_right_angles:
        sform[:3, :3] = nearest_at_right_angles(sform[:3, :3])
    struct.pack_into(order + "12f", raw, 280, *sform[:3].ravel())
    raw[344:348] = b"n+1\0"
    return bytes(raw) + bytes(4)


def pair_of(path: Path) -> tuple[Path, Path]:
    """Return the files of the header and of the voxels: two for .hdr and .img, else one."""
    name = path.name.lower()
    for ending in PAIR_ENDINGS:
        if not name.endswith(ending):
            continue
        stem = path.name[: -len(ending)]
        files = []
        for one, plain in (("hdr", ".hdr"), ("img", ".img")):
            if one in ending:
                files.append(path)
                continue
            candidates = [path.with_name(stem + end) for end in (plain, plain.upper(), plain + ".gz")]
            files.append(next((file for file in candidates if file.is_file()), candidates[0]))
        return files[0], files[1]
    return path, path


def _nifti_1(raw: bytes, order: str, voxel_file: Path, version: int) -> NiftiHeader:
    sides, *size = struct.unpack_from(order + "8h", raw, 40)
    (datatype,) = struct.unpack_from(order + "h", raw, 70)
    qform_code, sform_code = struct.unpack_from(order + "2h", raw, 252) if version else (0, 0)
    return NiftiHeader(
        version=version,
        file=voxel_file,
        start=_start(struct.unpack_from(order + "f", raw, 108)[0]),
        size=_sides(sides, size),
        datatype=datatype,
        voxel_bytes=_voxel_bytes(datatype),
        order=order,
        qform=_qform(struct.unpack_from(order + "6f", raw, 256), struct.unpack_from(order + "4f", raw, 76)),
        sform=np.vstack([np.reshape(struct.unpack_from(order + "12f", raw, 280), (3, 4)), [0, 0, 0, 1]]),
        qform_code=qform_code,
        sform_code=sform_code,
        pixdim=struct.unpack_from(order + "3f", raw, 80),
        raw=raw,
    )


def _nifti_2(raw: bytes, order: str, voxel_file: Path) -> NiftiHeader:
    (datatype,) = struct.unpack_from(order + "h", raw, 12)
    sides, *size = struct.unpack_from(order + "8q", raw, 16)
    qform_code, sform_code = struct.unpack_from(order + "2i", raw, 344)
    return NiftiHeader(
        version=2,
        file=voxel_file,
        start=_start(struct.unpack_from(order + "q", raw, 168)[0]),
        size=_sides(sides, size),
        datatype=datatype,
        voxel_bytes=_voxel_bytes(datatype),
        order=order,
        qform=_qform(struct.unpack_from(order + "6d", raw, 352), struct.unpack_from(order + "4d", raw, 104)),
        sform=np.vstack([np.reshape(struct.unpack_from(order + "12d", raw, 400), (3, 4)), [0, 0, 0, 1]]),
        qform_code=qform_code,
        sform_code=sform_code,
        pixdim=struct.unpack_from(order + "3d", raw, 112),
        raw=raw,
    )


def _start(offset: float) -> int:
    if not 0 <= offset < 2**31:
        raise ValueError("the place of its voxels is no number")
    return int(offset)


def _voxel_bytes(datatype: int) -> int:
    if datatype not in VOXEL_BYTES:
        raise ValueError(f"its data type {datatype} is not known")
    return VOXEL_BYTES[datatype]


def _sides(sides: int, size: list[int]) -> tuple[int, ...]:
    if not 1 <= sides <= 7 or min(size[:sides]) < 1:
        raise ValueError("its number of voxels is not positive")
    return tuple(size[:sides])


def _qform(values: tuple[float, ...], pixdim: tuple[float, ...]) -> np.ndarray:
    b, c, d, *offset = values
    return qform_matrix(b, c, d, offset=offset, pixdim=list(pixdim))


def write_forms(path: Path, codes: tuple[int, int], other: tuple[str, np.ndarray] | None = None) -> None:
    """Write the codes of qform and sform, and one of the two, into the header of an uncompressed NIfTI-1 file.

    Args:
        path: a little-endian file, as ITK has written it.
        codes: of qform and sform.
        other: "qform" or "sform", and its matrix 4 x 4 from voxels to RAS mm; None keeps both as they are.
    """
    with path.open("r+b") as file:
        file.seek(252)
        file.write(struct.pack("<2h", *codes))
        if other is None:
            return
        name, matrix = other
        if name == "sform":
            file.seek(280)
            file.write(struct.pack("<12f", *matrix[:3].ravel()))
            return
        quaternion, handedness = _quaternion(matrix[:3, :3])
        file.seek(256)
        file.write(struct.pack("<6f", *quaternion, *matrix[:3, 3]))
        file.seek(76)
        file.write(struct.pack("<f", handedness))


def _quaternion(axes: np.ndarray) -> tuple[np.ndarray, float]:
    """Convert axes (columns) to NIfTI's quaternion b, c, d and qfac."""
    rotation = axes / np.linalg.norm(axes, axis=0)
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation = rotation * [1, 1, handedness]
    # The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix is the quaternion, whatever the rotation.
    xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation.ravel()
    matrix = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(matrix / 3)[1][:, -1]
    return np.array([b, c, d]) * (1 if a >= 0 else -1), handedness

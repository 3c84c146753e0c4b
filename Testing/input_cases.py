"""Bad and odd inputs, and what happens with each: the tests and `docs/limits.md` are made from this table.

Each row makes the arguments of `register()` in a folder. All of them are files, as the command line takes them; those
marked `in_scene` are also made nodes of Slicer.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib.files.volumes import write_image
from ULAERegistrationLib.geometry.frame import CANONICAL_ORIGIN, CANONICAL_SIZE

Outcome = Literal["refused", "warned", "handled", "not recognised"]
SIDE, SPACING = 48, 4.0


@dataclass(frozen=True)
class InputCase:
    """A row of the table.

    Attributes:
        what: the input, in words.
        outcome: what happens with it before anything is computed.
        says: words of the sentence with which it is refused or warned of; in the other cases a note for the docs.
        make: makes it in a folder and returns arguments of `register()`.
        in_scene: whether a node of Slicer can hold it.
    """

    what: str
    outcome: Outcome
    says: str
    make: Callable[[Path], dict[str, Any]] = field(repr=False)
    in_scene: bool = False


def brain(
    litres: float = 1.4, size: Sequence[int] = (SIDE,) * 3, spacing: Sequence[float] = (SPACING,) * 3
) -> sitk.Image:
    """A ball that grows brighter inwards on an even background: the least that passes for a brain."""
    places = [(np.arange(side) - (side - 1) / 2) * step for side, step in zip(size, spacing, strict=True)]
    x, y, z = np.meshgrid(*places, indexing="ij", sparse=True)
    depth = np.cbrt(litres * 1e6 * 3 / 4 / np.pi) - np.sqrt(x**2 + y**2 + z**2)
    image = sitk.GetImageFromArray(np.where(depth > 0, 60 + depth, 0).astype(np.float32).T)
    image.SetSpacing(spacing)
    return image


# From the world of these brains to the canonical one, as an alignment places them: about the middle of its grid.
CENTRED = sitk.TranslationTransform(
    3,
    [
        start + (size - 1) / 2 - (SIDE - 1) / 2 * SPACING
        for start, size in zip(CANONICAL_ORIGIN, CANONICAL_SIZE, strict=True)
    ],
)


def changed(change: Callable[[np.ndarray], np.ndarray]) -> sitk.Image:
    """The brain with other voxels on the same grid."""
    image = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(brain())))
    image.CopyInformation(brain())
    return image


def spaced(*spacing: float) -> sitk.Image:
    image = brain()
    image.SetSpacing(spacing)
    return image


def with_voxel(value: float) -> sitk.Image:
    image = brain()
    image[20, 20, 20] = value
    return image


def as_file(image: Callable[[], sitk.Image], name: str = "odd.nrrd") -> Callable[[Path], dict[str, Any]]:
    """The fixed image is this one."""

    def make(folder: Path) -> dict[str, Any]:
        sitk.WriteImage(image(), str(folder / name))
        return {"fixed": folder / name}

    return make


def patched(name: str, change: Callable[[bytearray], object]) -> Callable[[Path], dict[str, Any]]:
    """The fixed image is a file of a brain whose bytes are changed."""

    def make(folder: Path) -> dict[str, Any]:
        sitk.WriteImage(brain(), str(folder / name))
        data = bytearray((folder / name).read_bytes())
        (folder / name).write_bytes(change(data) or data)  # type: ignore[arg-type]
        return {"fixed": folder / name}

    return make


def cut(name: str, voxels: str | None = None) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        sitk.WriteImage(brain(), str(folder / name))
        longest = folder / (voxels or name)
        longest.write_bytes(longest.read_bytes()[: longest.stat().st_size * 6 // 10])
        return {"fixed": folder / name}

    return make


def written(name: str, content: bytes) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        (folder / name).write_bytes(content)
        return {"fixed": folder / name}

    return make


def named(name: str) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"fixed": folder / name}


def mask(image: Callable[[], sitk.Image]) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        sitk.WriteImage(sitk.Cast(image(), sitk.sitkUInt8), str(folder / "mask.nrrd"))
        return {"fixed_mask": folder / "mask.nrrd"}

    return make


def nan_mask(folder: Path) -> dict[str, Any]:
    sitk.WriteImage(with_voxel(np.nan), str(folder / "mask.nrrd"))
    return {"fixed_mask": folder / "mask.nrrd"}


def labels(image: Callable[[], sitk.Image]) -> Callable[[Path], dict[str, Any]]:
    """A label map of the moving image, which is a whole brain."""

    def make(folder: Path) -> dict[str, Any]:
        sitk.WriteImage(image(), str(folder / "labels.nrrd"))
        return {"moving_labels": folder / "labels.nrrd"}

    return make


def start(content: bytes | sitk.Transform) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        file = folder / "start.tfm"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            sitk.WriteTransform(content, str(file))
        return {"initial_transform": file}

    return make


def weights(change: Callable[[bytes], bytes] | None) -> Callable[[Path], dict[str, Any]]:
    """Weights that are not there, or a changed copy of those that are shipped, with their card."""

    def make(folder: Path) -> dict[str, Any]:
        from ULAERegistrationLib.network.weights import SHIPPED

        file = folder / "own.safetensors"
        if change is not None:
            file.write_bytes(change(SHIPPED.read_bytes()))
            file.with_suffix(".json").write_bytes(SHIPPED.with_suffix(".json").read_bytes())
        return {"model": str(file)}

    return make


def sform(shear: float = 0.0, codes: tuple[int, int] = (0, 1), shift: float = 0.0) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        struct.pack_into("<2h", data, 252, *codes)
        rows = [[SPACING, SPACING * shear, 0, shift], [0, SPACING, 0, 0], [0, 0, SPACING, 0]]
        struct.pack_into("<12f", data, 280, *np.ravel(rows))

    return change


def big_endian(folder: Path) -> dict[str, Any]:
    sitk.WriteImage(brain(), str(folder / "little.nii"))
    little = nibabel.load(folder / "little.nii")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    big = nibabel.Nifti1Image(np.asarray(little.dataobj).astype(">f4"), little.affine, header)
    nibabel.save(big, folder / "odd.nii")
    return {"fixed": folder / "odd.nii"}


def in_ras(data: bytearray) -> bytes:
    return bytes(data).replace(b"left-posterior-superior", b"right-anterior-superior", 1)


def in_micrometres(data: bytearray) -> None:
    for place in (80, 84, 88, *range(280, 328, 4)):
        (number,) = struct.unpack_from("<f", data, place)
        struct.pack_into("<f", data, place, 1000 * number)
    data[123] = 3  # NIfTI's xyzt_units


def no_utf_8(folder: Path) -> dict[str, Any]:
    name = os.path.join(os.fsencode(folder), b"caf\xe9.nii")
    sitk.WriteImage(brain(), str(folder / "scan.nii"))
    os.replace(folder / "scan.nii", name)
    return {"fixed": Path(os.fsdecode(name))}


def renamed(name: str, other: str) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        write_image(brain(), folder / name)
        return {"fixed": (folder / name).rename(folder / other)}

    return make


def _cut_brain() -> sitk.Image:
    return brain()[:, :, : SIDE // 2 + 4]


def moved(image: sitk.Image) -> sitk.Image:
    """Half a metre away."""
    image.SetOrigin((500.0, 0.0, 0.0))
    return image


def _mirrored() -> sitk.Image:
    return sitk.Flip(brain(), (True, False, False))


CASES = (
    # Files.
    InputCase("a file that does not exist", "refused", "does not exist", named("none.nii.gz")),
    InputCase("a folder without a DICOM series", "refused", "folder without a DICOM series", named(".")),
    InputCase("an empty file", "refused", "is not a volume that is read here", written("odd.nii.gz", b"")),
    InputCase("a text", "refused", "is not a volume that is read here", written("odd.nii.gz", b"no image")),
    InputCase("a picture, or a file of VTK, TIFF, GIPL", "refused", "give one in NIfTI", as_file(brain, "odd.vtk")),
    *(
        InputCase(f"a file {name[3:]} that is cut short", "refused", "cut short or damaged", cut(name, voxels))
        for name, voxels in (
            *(("odd.nii", None), ("odd.nii.gz", None), ("odd.hdr", "odd.img"), ("odd.nrrd", None)),
            *(("odd.nhdr", "odd.raw"), ("odd.mha", None), ("odd.mhd", "odd.raw"), ("odd.mnc", None)),
        )
    ),
    InputCase("a name that is not UTF-8", "refused", "not UTF-8; rename it", no_utf_8),
    InputCase(
        "a header that promises 32,767 voxels along each side",
        "refused",
        "more than 1024 x 1024 x 1024",
        patched("odd.nii", lambda data: struct.pack_into("<4h", data, 40, 3, 32767, 32767, 32767)),
    ),
    InputCase(
        "a header whose start of the voxels is no number",
        "refused",
        "cut short or damaged",
        patched("odd.nii", lambda data: struct.pack_into("<f", data, 108, float("nan"))),
    ),
    InputCase(
        "a compressed NIfTI file called .nii", "handled", "read by its content", renamed("scan.nii.gz", "odd.nii")
    ),
    InputCase("a name with spaces and letters of any language", "handled", "", as_file(brain, "scan ü 脑 1.nii.gz")),
    InputCase("a big-endian NIfTI file", "handled", "", big_endian),
    InputCase("an NRRD file in RAS", "handled", "", patched("odd.nrrd", in_ras)),
    InputCase("a header in micrometres", "handled", "", patched("odd.nii", in_micrometres)),
    InputCase("an NRRD file called .nii.gz", "handled", "read by its content", renamed("odd.nrrd", "odd.nii.gz")),
    # Orientation and spacing.
    InputCase(
        "qform and sform code 0, or an Analyze file",
        "warned",
        "holds no orientation",
        patched("odd.nii", sform(codes=(0, 0))),
    ),
    InputCase(
        "qform and sform that differ",
        "warned",
        "holds two orientations that lie up to",
        patched("odd.nii", sform(codes=(1, 4), shift=125.0)),
    ),
    InputCase("axes .3 % from right angles", "warned", "not at right angles", patched("odd.nii", sform(shear=0.003))),
    InputCase("axes 2 % from right angles", "refused", "not at right angles", patched("odd.nii", sform(shear=0.02))),
    InputCase(
        "axes that span no volume",
        "refused",
        "span no volume",
        patched("odd.nrrd", lambda data: bytes(data).replace(b"(0,4,0)", b"(4,0,0)", 1)),
    ),
    InputCase(
        "an orientation that is no number",
        "refused",
        "places that are no numbers",
        patched("odd.nii", sform(shift=float("nan"))),
    ),
    InputCase(
        "voxel sizes that are not those of the orientation",
        "refused",
        "do not fit its orientation",
        patched("odd.nii", lambda data: struct.pack_into("<f", data, 80, -4.0)),
    ),
    InputCase("voxels of .01 mm", "refused", "correct its spacing", as_file(lambda: spaced(0.01, 4, 4)), True),
    InputCase("voxels of 40 mm", "refused", "correct its spacing", as_file(lambda: spaced(4, 4, 40)), True),
    InputCase(
        "a spacing that makes the brain 4.7 litres",
        "refused",
        "litres, which is impossible; correct its spacing",
        as_file(lambda: spaced(6, 6, 6)),
        True,
    ),
    InputCase(
        "two images that do not overlap in space",
        "handled",
        "aligned from their centres of mass",
        as_file(lambda: moved(brain())),
        True,
    ),
    InputCase("the same image twice", "handled", "nothing moves", lambda folder: {}, True),
    InputCase("voxels of .3 mm", "handled", "", as_file(lambda: brain(0.3, (320, 32, 32), (0.3, 3, 3)))),
    InputCase("voxels of 8 mm", "handled", "", as_file(lambda: brain(1.4, (24,) * 3, (8,) * 3)), True),
    # Voxels.
    InputCase("one slice", "refused", "every side must have at least 8", as_file(lambda: brain()[:, :, 24:25]), True),
    InputCase("a 2-D image", "refused", "2 dimensions", as_file(lambda: brain()[:, :, 24])),
    InputCase("a series of volumes", "refused", "4 dimensions", as_file(lambda: sitk.JoinSeries([brain(), brain()]))),
    InputCase("a series of one volume", "handled", "", as_file(lambda: sitk.JoinSeries([brain()]))),
    InputCase(
        "vectors or colours", "refused", "several values per voxel", as_file(lambda: sitk.Compose([brain()] * 3))
    ),
    InputCase(
        "the same value everywhere", "refused", "same value 5", as_file(lambda: changed(lambda a: a * 0 + 5)), True
    ),
    InputCase("zeros", "refused", "same value 0", as_file(lambda: changed(lambda a: a * 0)), True),
    InputCase("NaN", "refused", "NaN or infinite", as_file(lambda: with_voxel(float("nan"))), True),
    InputCase(
        "NaN in NIfTI, which ITK reads as 0", "refused", "NaN", as_file(lambda: with_voxel(np.nan), "odd.nii.gz")
    ),
    InputCase("infinite voxels", "refused", "NaN or infinite", as_file(lambda: with_voxel(float("inf"))), True),
    InputCase("intensities less 1024 everywhere", "handled", "", as_file(lambda: changed(lambda a: a - 1024)), True),
    InputCase(
        "a brain padded with -1024", "handled", "", as_file(lambda: changed(lambda a: np.where(a > 0, a, -1024))), True
    ),
    InputCase(
        "a brain of z-scores in a background of 0",
        "handled",
        "",
        as_file(lambda: changed(lambda a: (a - a[a > 0].mean()) / a[a > 0].std() * (a > 0))),
        True,
    ),
    InputCase("intensities of 1e-7", "handled", "", as_file(lambda: changed(lambda a: a * np.float32(1e-9))), True),
    InputCase("intensities of 1e6", "handled", "", as_file(lambda: changed(lambda a: a * np.float32(1e4))), True),
    InputCase("a voxel that has overflowed", "handled", "", as_file(lambda: with_voxel(-32768.0)), True),
    InputCase(
        "integers near 2^31",
        "handled",
        "",
        as_file(lambda: sitk.Cast(brain() * 1e7, sitk.sitkInt32)),
        True,
    ),
    InputCase(
        "a brain that a lost slice divides",
        "handled",
        "both pieces are registered",
        as_file(lambda: changed(lambda a: a * (np.arange(SIDE) != 20)[:, None, None])),
        True,
    ),
    InputCase(
        "a brain padded to 400 mm", "handled", "", as_file(lambda: sitk.ConstantPad(brain(), [26] * 3, [26] * 3))
    ),
    InputCase("a brain of .1 litres", "refused", "litres, which is impossible", as_file(lambda: brain(0.1)), True),
    # Masks.
    InputCase("an empty mask", "refused", "is empty", mask(lambda: brain() < 0), True),
    InputCase("a mask of everything", "refused", "which is no brain", mask(lambda: brain() >= 0), True),
    InputCase("a mask of a few voxels", "refused", "which is no brain", mask(lambda: brain() > 120), True),
    InputCase(
        "a mask that covers nothing of the brain",
        "refused",
        "where the fixed image shows nothing",
        mask(lambda: changed(lambda a: 1 * (np.indices(a.shape)[0] < 4)) > 0),
        True,
    ),
    InputCase("a mask with NaN", "refused", "NaN or infinite", nan_mask),
    InputCase("a mask elsewhere in space", "refused", "another grid", mask(lambda: moved(brain() > 0))),
    InputCase("a mask on another grid", "refused", "another grid", mask(lambda: sitk.Expand(brain() > 0, (2, 1, 1)))),
    InputCase(
        "a mask cropped to the brain", "handled", "laid onto the image", mask(lambda: (brain() > 0)[8:-8, 9:-9, 8:])
    ),
    InputCase(
        "a mask with its axes in another order",
        "handled",
        "laid onto the image",
        mask(lambda: sitk.PermuteAxes(brain() > 0, (2, 0, 1))),
    ),
    InputCase("labels with fractional values", "refused", "not whole numbers", labels(lambda: brain() / 7)),
    InputCase("labels on another grid", "refused", "another grid", labels(lambda: moved(brain() > 0))),
    # Transforms and weights.
    InputCase("an initial transform that is none", "refused", "not a transform", start(b"nonsense")),
    InputCase("a 2-D initial transform", "refused", "2 dimensions", start(sitk.Euler2DTransform())),
    InputCase(
        "an initial transform without inverse",
        "refused",
        "no inverse",
        start(sitk.AffineTransform([1.0, 0, 0, 0, 1, 0, 0, 0, 0], [0.0, 0, 0])),
    ),
    InputCase("weights that do not exist", "refused", "does not exist", weights(None)),
    InputCase("weights that are cut short", "refused", "differs from its card", weights(lambda data: data[:-9])),
    InputCase("weights that were altered", "refused", "differs from its card", weights(lambda data: data[:-1] + b"x")),
    # What a look at one image cannot tell.
    InputCase(
        "a brain that the field of view cuts off",
        "warned",
        "is cut off at the",
        as_file(_cut_brain),
        True,
    ),
    InputCase(
        "an image mirrored left to right",
        "not recognised",
        "a mirrored head looks like one; its brain is noticed once it is aligned, and the result not called good",
        as_file(_mirrored),
    ),
    InputCase(
        "a label map in place of a scan",
        "not recognised",
        "the verdict is then hardly good, as no brain matches it",
        as_file(lambda: changed(lambda a: np.rint(a / 40))),
    ),
)

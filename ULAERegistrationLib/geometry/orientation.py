"""Orientations of images: axes that are not quite at right angles, and the two that a NIfTI header may hold.

ITK keeps NIfTI's two orientations, qform and sform, as text beside an image. An image has one orientation; ITK takes
one of the two. What was read with both is written with both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError

SHEAR_NOTABLE, SHEAR_LIMIT = 1e-3, 0.01  # largest cosine between two axes of a grid
STRAIGHTENED = "ULAERegistration.straightened"  # metadata: an image's shear in percent, where it was taken out
RESAMPLE = "resample it to a grid with axes at right angles"
KEYS = (
    *("qform_code", "sform_code", "pixdim[0]", "pixdim[1]", "pixdim[2]", "pixdim[3]"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
FORMS = ("qform", "sform")
SAME_MM = 0.05  # ITK keeps six digits of every number
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # to RAS and back


@dataclass(frozen=True, eq=False)
class StoredForms:
    """The orientations of a NIfTI header.

    Attributes:
        codes: of qform and sform; 0 where the header does not hold it.
        matrices: of qform and sform, 4 x 4, from voxels to RAS mm.
        apart_mm: how far the two place the same voxel apart, at most; 0 where there are not two.
        taken: which of them the image has, "qform" or "sform"; "" where neither.
        kept: whether a file of the image keeps the codes: one of the two is the image's, or neither is held and the
            image lies as ITK reads such a header.
    """

    codes: tuple[int, int]
    matrices: tuple[np.ndarray, np.ndarray]
    apart_mm: float
    taken: str
    kept: bool


def stored_forms(image: sitk.Image) -> StoredForms | None:
    """Return the orientations of the header that an image was read from; None where there was no such header."""
    if image.GetDimension() != 3 or not all(image.HasMetaDataKey(key) for key in KEYS):
        return None
    try:
        values = {key: np.array(image.GetMetaData(key).split(), float) for key in KEYS}
        codes = int(values["qform_code"][0]), int(values["sform_code"][0])
        # ITK does not keep the handedness of qform, pixdim[0], but for 0; `files.reading` does.
        handedness = values["pixdim[0]"][0] or np.linalg.det(_matrix(image)[:3, :3])
        qform = qform_matrix(
            *(float(values[key][0]) for key in ("quatern_b", "quatern_c", "quatern_d")),
            offset=[values[f"qoffset_{axis}"][0] for axis in "xyz"],
            pixdim=[handedness, *(values[f"pixdim[{index}]"][0] for index in (1, 2, 3))],
        )
        sform = np.vstack([*(values[f"srow_{axis}"] for axis in "xyz"), [0, 0, 0, 1]])
    except (ValueError, IndexError):  # not written by ITK
        return None
    if sform.shape != (4, 4) or not (np.isfinite(qform).all() and np.isfinite(sform).all()):
        return None
    own = _matrix(image)
    corners = _corners(image)

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.linalg.norm((one - other) @ corners, axis=0).max())

    found = [code > 0 and apart(form, own) < SAME_MM for code, form in zip(codes, (qform, sform), strict=True)]
    both = min(codes) > 0
    unplaced = codes == (0, 0) and np.allclose(own[:3, :3], LPS[:3, :3] * image.GetSpacing()) and not own[:3, 3].any()
    return StoredForms(
        codes=codes,
        matrices=(qform, sform),
        apart_mm=apart(qform, sform) if both else 0.0,
        taken=next((name for name, same in zip(FORMS, found, strict=True) if same), ""),
        kept=any(found) or bool(unplaced),
    )


def keep_stored_forms(source: sitk.Image, result: sitk.Image) -> sitk.Image:
    """Give an image on the grid of `source` the orientations of that image's header, and return it."""
    if all(source.HasMetaDataKey(key) for key in KEYS):
        for key in KEYS:
            result.SetMetaData(key, source.GetMetaData(key))
    return result


def qform_matrix(b: float, c: float, d: float, *, offset: list[float], pixdim: list[float]) -> np.ndarray:
    """Convert NIfTI's quaternion, its offset and pixdim (qfac, then spacing) to a matrix 4 x 4 to RAS mm."""
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
    matrix[:3, 3] = offset
    return matrix


def shear(axes: np.ndarray) -> float:
    """Return how far the columns of a matrix are from right angles: the largest cosine between two of them."""
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(axes).all() and (lengths > 0).all()):
        return float("inf")
    cosines = (axes / lengths).T @ (axes / lengths)
    return float(np.abs(cosines - np.eye(3)).max())


def check_shear(axes: np.ndarray, name: str, remedy: str = RESAMPLE) -> None:
    """Refuse axes that are further from right angles than `SHEAR_LIMIT`.

    Args:
        axes: a matrix with the axes of an image as its columns.
        name: of the image, for the message.
        remedy: what to do about it, for the message.

    Raises:
        RegistrationError: where they are.
    """
    found = shear(axes)
    if found > SHEAR_LIMIT:
        raise RegistrationError(
            f"{name} has axes that are not at right angles (by {100 * found:.2g} %, more than "
            f"{100 * SHEAR_LIMIT:g} %); {remedy}."
        )


def straightened(image: sitk.Image, name: str) -> sitk.Image:
    """Return an image whose axes are at right angles; one that has them is returned itself.

    Args:
        image: of any dimension; the axes of 3-D ones are looked at.
        name: of the image, for the message.

    Raises:
        RegistrationError: where the axes are further from right angles than `SHEAR_LIMIT`, or not finite.
    """
    if not np.isfinite([*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()]).all():
        raise no_numbers(name)
    if image.GetDimension() != 3:
        return image
    axes = np.reshape(image.GetDirection(), (3, 3))
    check_shear(axes, name)
    if shear(axes) <= SHEAR_NOTABLE:
        return image
    result = sitk.Image(image)
    result.SetDirection(nearest_at_right_angles(axes).ravel().tolist())
    result.SetMetaData(STRAIGHTENED, f"{100 * shear(axes):.2g}")
    return result


def no_numbers(name: str) -> RegistrationError:
    """Return the error for a header with places that are not finite."""
    return RegistrationError(f"{name} has a header with places that are no numbers; correct its orientation.")


def nearest_at_right_angles(axes: np.ndarray) -> np.ndarray:
    """Return the matrix with columns at right angles, of the same lengths, that is nearest to the given one."""
    lengths = np.linalg.norm(axes, axis=0)
    left, _, right = np.linalg.svd(axes / lengths)
    return (left @ right) * lengths


def _matrix(image: sitk.Image) -> np.ndarray:
    """Return an image's own matrix from voxels to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return LPS @ matrix


def _corners(image: sitk.Image) -> np.ndarray:
    """Return the voxels at the corners of an image, [4, 8]."""
    last = np.array(image.GetSize()) - 1
    corners = np.indices((2, 2, 2)).reshape(3, 8) * last[:, None]
    return np.vstack([corners, np.ones(8)])

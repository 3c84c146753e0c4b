"""Read, check and pair the people of an evaluation, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from ..dataset.regions import numbering_of
from ..dataset.sources import source_of
from ..errors import RegistrationError
from ..files.volumes import read_any, read_labels
from ..tensors import tensor_of

DIRECTION_TOLERANCE = 1e-3  # of the directions' cosines: what the headers of NIfTI files round


@dataclass(frozen=True)
class Person:
    """One labelled brain on the canonical grid.

    Attributes:
        name: such as "nirep-na04"; the source stands before the first hyphen.
        image: uint8 `[L, P, S]`.
        labels: integers, `[L, P, S]`.
        spacing: mm along L, P, S.
    """

    name: str
    image: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    spacing: tuple[float, float, float]

    def tensor(self) -> Tensor:
        """Return the image as the network's input, float32 `[1, 1, L, P, S]` in [0, 1]."""
        return tensor_of(self.image / np.float32(255))[None, None]

    def labels_tensor(self) -> Tensor:
        """Return the labels as float32 `[1, 1, L, P, S]`, which represents integers up to 2^24 exactly."""
        return tensor_of(self.labels.astype(np.float32))[None, None]


def image_file(data: Path, person: str) -> Path:
    """Return the path of a person's image."""
    return data / f"{person}_t1.nii.gz"


def label_file(data: Path, person: str) -> Path:
    """Return the path of a person's label map."""
    return data / f"{person}_seg.nii.gz"


def read_image(file: Path) -> np.ndarray:
    """Read a brain on the canonical grid, uint8 `[L, P, S]`."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T)


def ordered_pairs(people: Sequence[str]) -> list[tuple[str, str]]:
    """Return all ordered pairs (fixed, moving) within a source, because labels of two sources do not compare."""
    return [(f, m) for f in people for m in people if f != m and source_of(f) == source_of(m)]


def labelled_people(data: Path) -> list[str]:
    """Return the names of all people of a folder who have an image and labels, in alphabetical order.

    Raises:
        RegistrationError: for a missing folder, and where nobody has labels.
    """
    _check_folder(data)
    names = sorted(path.name.removesuffix("_t1.nii.gz") for path in data.glob("*_t1.nii.gz"))
    people = [name for name in names if label_file(data, name).is_file()]
    if not people:
        raise RegistrationError(
            f"Nobody in {data} has an image and labels; name them as in ann_t1.nii.gz and ann_seg.nii.gz."
        )
    return people


def read_people(data: Path, names: Sequence[str]) -> dict[str, Person]:
    """Read the people of an evaluation, by name.

    Raises:
        RegistrationError: for a missing folder, image or label map, a person without a partner, images that do not
            share one grid with axes to left, posterior and superior, or a label map without a label that is scored.
    """
    _check_folder(data)
    for name in names:
        _check_name(data, name)
    paired = {name for pair in ordered_pairs(names) for name in pair}
    if alone := [name for name in names if name not in paired]:
        raise RegistrationError(f"{alone[0]} has no partner; choose two people or more of each source.")
    people: dict[str, Person] = {}
    first: sitk.Image | None = None
    for name in names:
        image = read_any(image_file(data, name), "The image")
        first = first or image
        _check_image(image, first, name)
        labels = read_labels(label_file(data, name), image, name)
        people[name] = _person(name, image, labels)
    return people


def _check_folder(data: Path) -> None:
    if not data.is_dir():
        raise RegistrationError(f"The folder {data} does not exist; give the folder of brains.")


def _check_name(data: Path, name: str) -> None:
    if not image_file(data, name).is_file():
        raise RegistrationError(f"{name} is not in {data}; a person is named by a file such as nirep-na04_t1.nii.gz.")
    if not label_file(data, name).is_file():
        raise RegistrationError(f"{name} has no labels ({label_file(data, name).name}); choose people who have.")


def _check_image(image: sitk.Image, first: sitk.Image, name: str) -> None:
    if image.GetPixelID() != sitk.sitkUInt8:
        raise RegistrationError(f"The image of {name} is not of 8 bits; scale it to 0 to 255 on the canonical grid.")
    if not sitk.GetArrayViewFromImage(image).any():
        raise RegistrationError(f"The image of {name} is empty; choose people who have a brain in theirs.")
    size = image.GetSize()
    is_turned = not np.allclose(image.GetDirection(), np.eye(3).ravel(), rtol=0, atol=DIRECTION_TOLERANCE)
    frames = [(i.GetSize(), i.GetOrigin(), i.GetSpacing(), i.GetDirection()) for i in (image, first)]
    if frames[0] != frames[1] or is_turned or any(side % 16 for side in size):
        raise RegistrationError(
            f"The image of {name} ({' x '.join(map(str, size))} voxels) is not on one grid with the others, with axes "
            f"to left, posterior and superior and sides that divide by 16; give brains that are aligned to the "
            f"canonical frame."
        )


def _person(name: str, image: sitk.Image, labels: sitk.Image) -> Person:
    values = np.ascontiguousarray(sitk.GetArrayFromImage(labels).T)
    cortical = numbering_of(source_of(name)).cortical
    if not ((values >= cortical.start) & (values < cortical.stop)).any():
        raise RegistrationError(f"The label map of {name} has no label that is scored; choose people who have one.")
    return Person(name, np.ascontiguousarray(sitk.GetArrayFromImage(image).T), values, image.GetSpacing())

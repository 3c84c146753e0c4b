"""The training set in one packed file, which is small enough to copy to another machine.

`pack` needs SimpleITK and the folders of `.nii.gz` volumes; `Brains` reads the file with numpy and torch alone.
"""

from __future__ import annotations

import json
import lzma
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..dataset.regions import numbering_of
from ..dataset.sources import VALIDATION_PEOPLE, source_of
from ..errors import RegistrationError
from ..files.writing import whole_or_nothing
from ..flows.warp import downsample_image
from ..tensors import tensor_of
from .synthesis import tissues
from .wavelet import PARTS, decode, encode

if TYPE_CHECKING:
    import SimpleITK as sitk

LARGEST_LABEL = 32767  # FreeSurfer's numbers reach 12,175
GRID_TOLERANCE = 1e-3  # mm, and of the directions' cosines: what the headers of NIfTI files round


def pack(brains_folder: Path, file: Path) -> dict[str, int]:
    """Write all brains, their manual labels, and the tissue maps of heads for synthesis into one `.npz`.

    Args:
        brains_folder: folder of `<person>_t1.nii.gz` (uint8, on the canonical grid), and `<person>_seg.nii.gz` where
            manual labels exist. Label maps of whole heads (FreeSurfer's numbers, `*.nii.gz`) are read from the folder
            `labelmaps` beside it, if there is one.
        file: the packed file. Intensities are kept up to a rounding of their details (see `wavelet`), by 2 of 255 in
            the root of the mean square, in brains by 12 at most; labels, and where the brain is, are exact.

    Returns:
        The number of people, labelled people and heads, and the file's size in bytes.

    Raises:
        RegistrationError: for a folder that is missing or has no brain, a file that is cut short or damaged, an image
            or labels on another grid than the canonical one, an image that is not of 8 bits, or labels beyond 0 to
            `LARGEST_LABEL`.
    """
    # Imported here, because machines that only train may lack it.
    import SimpleITK as sitk

    from ..files.volumes import read_any, read_any_labels

    def oriented(image: sitk.Image) -> np.ndarray:
        return sitk.GetArrayFromImage(image).transpose(2, 1, 0)

    heads = sorted((Path(brains_folder).parent / "labelmaps").glob("*.nii.gz"))
    people = sorted(path.name.removesuffix("_t1.nii.gz") for path in Path(brains_folder).glob("*_t1.nii.gz"))
    if not people:
        raise RegistrationError(
            f"There are no brains in {brains_folder}; give a folder of files such as nirep-na01_t1.nii.gz."
        )
    for person in people:
        for name, part in (("image", "t1"), ("labels", "seg")):
            _check_grid(Path(brains_folder) / f"{person}_{part}.nii.gz", f"{name} of {person}")
    labelled = 0
    with whole_or_nothing(file) as partial, zipfile.ZipFile(partial, "w", compression=zipfile.ZIP_LZMA) as archive:

        def add(name: str, values: np.ndarray) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(values))

        for person in people:
            image = oriented(read_any(Path(brains_folder) / f"{person}_t1.nii.gz", f"The image of {person}"))
            if image.dtype != np.uint8:
                raise RegistrationError(
                    f"The image of {person} is not of 8 bits; scale it to 0 to 255 on the canonical grid."
                )
            for part, values in encode(image).items():
                add(f"{person}_t1_{part}", values)
            labels = Path(brains_folder) / f"{person}_seg.nii.gz"
            if labels.exists():
                numbers = oriented(read_any_labels(labels, f"The label map of {person}"))
                if numbers.min() < 0 or numbers.max() > LARGEST_LABEL:
                    raise RegistrationError(
                        f"The labels of {person} are not numbers of 0 to {LARGEST_LABEL}; give them such ones."
                    )
                add(f"{person}_seg", numbers.astype(np.int16))
                labelled += 1
        for head in heads:
            add(f"{head.name.removesuffix('.nii.gz')}_tissues", tissues(read_any(head, f"The label map {head.name}")))
        archive.writestr("people.json", json.dumps(people))
    return {"people": len(people), "labelled": labelled, "heads": len(heads), "bytes": file.stat().st_size}


def _check_grid(file: Path, name: str) -> None:
    """Refuse a volume on another grid than the canonical one, by its header; a file that is missing is none.

    Raises:
        RegistrationError: for such a volume, and for a file that cannot be read.
    """
    import SimpleITK as sitk

    from ..geometry.canonical import canonical_grid

    if not file.exists():
        return
    header = sitk.ImageFileReader()
    header.SetFileName(str(file))
    try:
        header.ReadImageInformation()
    except RuntimeError:
        raise RegistrationError(f"The {name} cannot be read; give {file.name} as a NIfTI file.") from None
    found, expected = (
        [*grid.GetSize(), *grid.GetOrigin(), *grid.GetSpacing(), *grid.GetDirection()]
        for grid in (header, canonical_grid())
    )
    if len(found) != len(expected) or not np.allclose(found, expected, rtol=0, atol=GRID_TOLERANCE):
        raise RegistrationError(
            f"The {name} lie{'' if name.startswith('labels') else 's'} on another grid ({_grid_of(header)}); brains "
            f"are trained on in the canonical frame ({_grid_of(canonical_grid())})."
        )


def _grid_of(grid: sitk.Image | sitk.ImageFileReader) -> str:
    """Describe a grid: size, spacing, origin and directions in LPS mm."""
    size, spacing = (" x ".join(f"{value:g}" for value in values) for values in (grid.GetSize(), grid.GetSpacing()))
    origin, axes = (
        " ".join(f"{value + 0.0:g}" for value in values) for values in (grid.GetOrigin(), grid.GetDirection())
    )
    return f"{size} voxels of {spacing} mm, origin {origin}, directions {axes}"


class Brains:
    """The packed set in memory.

    Args:
        file: the packed file.
        validation_people: names of people to leave out of training; None takes those of the project's own data that
            the file has.
        device: of the training images.

    Raises:
        RegistrationError: for a file that is no pack, is damaged or was packed by an earlier version, or that lacks one
            of the validation people.

    Attributes:
        training_people: those who are trained on, in the order of `training_set`.
        validation_people: those who are left out of training.
        labelled: the training people with manual labels, by source ("nirep", "oasis"), as indices of
            `training_people`; labels of two people compare only within a source, so one alone is not among them.
        tissues: tissue maps of heads for synthesis, each uint8 `[L, P, S]` (see `synthesis`); may be empty.
    """

    def __init__(self, file: Path, validation_people: Sequence[str] | None = None, device: str = "cpu") -> None:
        with _opened(file) as (people, arrays):
            if validation_people is None:
                validation_people = [p for p in VALIDATION_PEOPLE if p in people]
            if lacking := [p for p in validation_people if p not in people]:
                raise RegistrationError(
                    f"{file} lacks {', '.join(lacking)} of the settings' validation_people; name people of it there."
                )
            if any(f"{p}_t1" in arrays for p in people):
                raise RegistrationError(
                    f"{file} was packed by an earlier version; make it anew with `ulae train --pack`."
                )
            self._images = {p: tensor_of(decode({part: arrays[f"{p}_t1_{part}"] for part in PARTS})) for p in people}
            self._labels = {p: tensor_of(arrays[f"{p}_seg"]) for p in people if f"{p}_seg" in arrays}
            heads = [name for name in arrays if name.endswith("_tissues")]
            self.tissues = [tensor_of(arrays[name]).to(device) for name in heads]
        self.training_people = [p for p in people if p not in validation_people]
        self.validation_people = list(validation_people)
        self.device = device
        labelled: dict[str, list[int]] = {}
        for index, person in enumerate(self.training_people):
            if self._has_labels(person):
                labelled.setdefault(source_of(person), []).append(index)
        self.labelled = {source: group for source, group in labelled.items() if len(group) > 1}

    def training_set(self, voxel_mm: int) -> Tensor:
        """Return the images of all training people at 1, 2 or 4 mm: `[N, 1, L, P, S]` in [0, 1]."""
        return torch.cat([self.image(p, voxel_mm) for p in self.training_people]).to(self.device)

    def image(self, person: str, voxel_mm: int = 1) -> Tensor:
        """Return the image of one person, `[1, 1, L, P, S]` in [0, 1]."""
        return downsample_image(self._images[person].float()[None, None] / 255, voxel_mm)

    def labels(self, person: str) -> Tensor:
        """Return a labelled person's label map, int16 `[L, P, S]` (uint8 of files that earlier versions packed)."""
        return self._labels[person]

    def cortical_map(self, person: str, voxel_mm: int = 1) -> Tensor:
        """Return a person's labels that are taught on the grid of `image`, float32 `[1, 1, L, P, S]`; all else is 0."""
        return _subsampled(self._cortical(person).to(self.device), voxel_mm)

    def tissue_map(self, head: int, voxel_mm: int = 1) -> Tensor:
        """Return the tissues of one of the heads on the grid of `image`, float32 `[1, 1, L, P, S]`."""
        return _subsampled(self.tissues[head], voxel_mm)

    def validation_pairs(self) -> list[tuple[str, str]]:
        """Return all ordered pairs (fixed, moving) of validation people of one source whose labels compare."""
        people = [p for p in self.validation_people if self._has_labels(p)]
        return [(f, m) for f in people for m in people if f != m and source_of(f) == source_of(m)]

    def _has_labels(self, person: str) -> bool:
        """Tell whether a person has labels that are taught and scored."""
        return person in self._labels and bool(self._cortical(person).any())

    def _cortical(self, person: str) -> Tensor:
        """Return a person's labels that are taught and scored, int32 `[L, P, S]`; all else is 0."""
        labels, cortical = self._labels[person].int(), numbering_of(source_of(person)).cortical
        return torch.where((labels >= cortical.start) & (labels < cortical.stop), labels, 0)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[list[str], Mapping[str, np.ndarray]]]:
    """Open a packed file: the people, and the arrays by name.

    Raises:
        RegistrationError: where reading finds that it is no pack, or is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            people = json.loads(archive.read("people.json"))
        with np.load(file) as arrays:
            yield people, arrays
    except (zipfile.BadZipFile, lzma.LZMAError, EOFError, KeyError, OSError, ValueError) as error:
        raise RegistrationError(
            f"{file} cannot be read as packed data ({error}); make it anew with `ulae train --pack`."
        ) from None


def _subsampled(labels: Tensor, voxel_mm: int) -> Tensor:
    """Take the middle label of each voxel of a coarser grid, as labels cannot be averaged."""
    middle = slice(voxel_mm // 2, None, voxel_mm)
    return downsample_image(labels[middle, middle, middle].float()[None, None], 1)

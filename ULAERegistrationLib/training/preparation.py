"""Brains to train on: scans of one's own, placed in the canonical frame as a registration places them.

The files of a folder of scans are named after the person: `<person>_t1`, and where there are any `<person>_seg`, the
manual labels, and `<person>_mask`, the brain; in capitals or not, each with the ending of its format, or a folder of
DICOM files. `<person>_T1w`, as BIDS has it, is a T1 scan too.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..errors import NOT_ENOUGH_MEMORY, RegistrationError, lacks_memory, unexpected
from ..files.inputs import digest, stem
from ..files.volumes import read_labels, read_mask, read_volume, write_image
from ..files.writing import MOVING, check_output_folder, recorded_files, whole_folder_or_nothing, whole_or_nothing
from ..geometry.brain import volume_litres
from ..geometry.canonical import canonical_grid
from ..geometry.contrast import shows_tissue_as_t1
from ..placement import place_alone
from ..quality import likeness_doubts
from ..scan_brain import brain_likeness, cut_doubts, find_scan_brain, with_rim
from ..settings import RegistrationSettings
from .contact_sheet import contact_sheet
from .data import LARGEST_LABEL

PARTS = {"t1": "t1", "t1w": "t1", "seg": "seg", "mask": "mask"}  # what a file is, by the end of its name
# Of the formats that are read here. Of two files that make one image, the one that is named to open it.
ENDINGS = (
    *(".nii.gz", ".nii", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".mgz", ".mgh", ".mnc", ".mnc2", ".dcm"),
)
RECORD, SHEET = "prepared.json", "prepared.png"
ROLE = "T1"  # of a scan in the sentences about it
OTHER_CONTRAST = (
    "The T1 image shows grey and white matter less apart than T1 scans do, so it may have another contrast, which "
    "teaches the network little; leave it out if it is no T1."
)
FOREIGN = (
    "{folder} has {names} of another origin, or changed since; move that away, or write the brains to another folder."
)


@dataclass(frozen=True)
class Prepared:
    """How the preparation of one person went.

    Attributes:
        person: the name.
        status: "prepared", "as before" (prepared earlier from the same files), "failed", or "passed over", where
            `person` is the name of an image that is called otherwise.
        litres: volume of the brain; 0 where it failed.
        labels: number of different labels above 0 in the label map; 0 where there is none.
        doubts: what should be looked at, or why it failed, one sentence each.
    """

    person: str
    status: Literal["prepared", "as before", "failed", "passed over"]
    litres: float = 0.0
    labels: int = 0
    doubts: tuple[str, ...] = ()

    def line(self) -> str:
        """Say it in one line."""
        if self.status == "failed":
            return f"{self.person}: failed. {' '.join(self.doubts)}"
        if self.status == "passed over":
            return f"{self.person}: passed over, because its name ends in none of _t1, _seg and _mask"
        labels = f", {self.labels} labels" if self.labels else ""
        look = f" Look at it. {' '.join(self.doubts)}" if self.doubts else ""
        return f"{self.person}: {self.status}, brain of {self.litres:.2f} litres{labels}.{look}"


def prepare(scans: Path, brains: Path, finished: Callable[[Prepared], None] = lambda _: None) -> list[Prepared]:
    """Place all scans of a folder in the canonical frame, and draw the brains of the output folder in one picture.

    A person who fails does not stop the others, and who was prepared from the same files is not prepared again. Files
    of the output folder that were not prepared, or have changed since, stay: a person who would replace them fails, and
    so does one whose brain has changed.

    Args:
        scans: folder of the scans, as the head of this module names them: T1 scans of heads or of brains alone.
        brains: folder for `<person>_t1.nii.gz` (uint8, on the canonical grid), `<person>_seg.nii.gz` (int16), the
            record `prepared.json` and the picture `prepared.png`.
        finished: called with each person as soon as it is done.

    Returns:
        The images that were passed over, and how it went for each person, in the order of their names.

    Raises:
        RegistrationError: before anything is computed, where there are no scans, or the output folder cannot be
            written, is the folder of a scan or holds the result of a registration.
    """
    people, others = _people_in(scans)
    check_output_folder(brains)
    inside = brains.resolve()
    if any(file.resolve().parent == inside for files in people.values() for found in files.values() for file in found):
        raise RegistrationError(f"{brains} holds the scans themselves; write the brains to another folder.")
    record = _read_record(brains)
    ours = {name for known in record.values() for name in known["outputs"]}  # which an interruption may have noted
    if set(recorded_files(brains)) - ours:  # which writing to the folder would remove
        raise RegistrationError(f"{brains} holds the result of a registration; write the brains to another folder.")
    (brains / MOVING).unlink(missing_ok=True)  # or the next person's files would replace what an interruption has noted
    outcomes = [Prepared(name, "passed over") for name in others]
    for outcome in outcomes:
        finished(outcome)
    for person, files in people.items():
        inputs = {part: [digest(file) for file in found] for part, found in files.items()}
        known = record.get(person, {})
        there = [file for file in _outputs(brains, person, PARTS) if file.exists()]
        foreign = [file for file in there if digest(file) != known.get("outputs", {}).get(file.name)]
        is_whole = set(_outputs(brains, person, files)) <= set(there) and _brain(brains, person) not in foreign
        if known.get("inputs") == inputs and is_whole:
            outcome = Prepared(person, "as before", known["litres"], known["labels"], tuple(known["doubts"]))
        elif foreign:
            names = " and ".join(file.name for file in foreign)
            outcome = Prepared(person, "failed", doubts=(FOREIGN.format(folder=brains, names=names),))
        else:
            outcome = _or_failed(_prepare_person, person, files, inputs, brains, record)
            # What was made of other files must not be taken for what these show.
            if outcome.status == "failed" and record.pop(person, {}):
                _remove_brain(brains, person)
                _write_record(brains, record)
        outcomes.append(outcome)
        finished(outcome)
    if any(outcome.status in ("prepared", "as before") for outcome in outcomes):
        with whole_or_nothing(brains / SHEET) as partial:
            made = {_brain(brains, person): known["outputs"] for person, known in sorted(record.items())}
            partial.write_bytes(contact_sheet([file for file in made if digest(file) == made[file].get(file.name)]))
    return outcomes


def _people_in(folder: Path) -> tuple[dict[str, dict[str, list[Path]]], list[str]]:
    """Return the files of each person by part, people in the order of their names, and the names of other images."""
    people: dict[str, dict[str, list[Path]]] = {}
    others = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        person, _, ending = stem(path).rpartition("_")
        part, is_image = PARTS.get(ending.lower()), path.name.lower().endswith(ENDINGS)
        if path.name.startswith("."):  # as macOS puts beside each file on some disks
            continue
        if person and part and (path.is_dir() or is_image):
            people.setdefault(person, {}).setdefault(part, []).append(path)
        elif is_image:
            others.append(path.name)
    if not any("t1" in files for files in people.values()):
        raise RegistrationError(f"There are no scans in {folder}; name them <person>_t1.nii.gz, such as ann_t1.nii.gz.")
    return dict(sorted(people.items())), others


def _brain(brains: Path, person: str) -> Path:
    return brains / f"{person}_t1.nii.gz"


def _outputs(brains: Path, person: str, parts: Collection[str]) -> list[Path]:
    return [brains / f"{person}_{part}.nii.gz" for part in ("t1", "seg") if part in parts]


def _remove_brain(brains: Path, person: str) -> None:
    for file in _outputs(brains, person, PARTS):
        file.unlink(missing_ok=True)


def _or_failed(prepare_person: Callable[..., Prepared], person: str, *arguments: Any) -> Prepared:
    """Prepare a person, and say how that went, also where it fails."""
    try:
        return prepare_person(person, *arguments)
    except RegistrationError as error:
        sentence = str(error)
    except Exception as error:  # a person who fails must not stop the others
        sentence = NOT_ENOUGH_MEMORY if lacks_memory(error) else f"{unexpected(error)}."
        if not lacks_memory(error):
            traceback.print_exception(error)
    return Prepared(person, "failed", doubts=(sentence,))


def _prepare_person(
    person: str,
    files: Mapping[str, list[Path]],
    inputs: Mapping[str, list[str]],
    brains: Path,
    record: dict[str, dict[str, Any]],
) -> Prepared:
    """Read, place and write one person, and the record with this person in it.

    Raises:
        RegistrationError: where that cannot be done; no brain is written then.
    """
    if "t1" not in files:
        (other, *_) = files.values()
        raise RegistrationError(f"There is no {person}_t1 beside {other[0].name}; give the scan, or rename the file.")
    if twice := next((found for found in files.values() if len(found) > 1), None):
        raise RegistrationError(f"{' and '.join(file.name for file in twice)} are called the same; keep one of them.")
    scan = read_volume(files["t1"][0], ROLE)
    mask = read_mask(files["mask"][0], scan, ROLE) if "mask" in files else None
    labels = read_labels(files["seg"][0], scan, ROLE) if "seg" in files else None
    numbers = [] if labels is None else np.unique(sitk.GetArrayViewFromImage(labels)).tolist()
    if numbers and not 0 <= numbers[0] <= numbers[-1] <= LARGEST_LABEL:
        raise RegistrationError(
            f"The {ROLE} label map holds numbers from {numbers[0]} to {numbers[-1]}; give it numbers of 0 to "
            f"{LARGEST_LABEL}."
        )
    brain = find_scan_brain(scan, mask, ROLE, RegistrationSettings())
    # A registration of two heads shows the network such a rim.
    brain = with_rim(brain) if brain.is_found else brain
    canonical, to_canonical = place_alone(scan, brain.shown)
    if not canonical.any():
        raise RegistrationError("No brain is seen in the canonical frame; give a mask of the brain.")
    doubts = [*brain.doubts, *cut_doubts(brain, to_canonical, ROLE)]
    doubts += likeness_doubts(ROLE, brain_likeness(canonical, brain, to_canonical))
    if not shows_tissue_as_t1(canonical):
        doubts.append(OTHER_CONTRAST)
    litres = round(volume_litres(brain.foreground), 4)
    outcome = Prepared(person, "prepared", litres, sum(number > 0 for number in numbers), tuple(doubts))
    with whole_folder_or_nothing(brains) as partial:
        image = sitk.GetImageFromArray(np.rint(255 * canonical).astype(np.uint8).transpose(2, 1, 0))
        image.CopyInformation(canonical_grid())
        write_image(image, partial / f"{person}_t1.nii.gz")
        if labels is not None:
            there = sitk.Resample(labels, canonical_grid(), to_canonical.GetInverse(), sitk.sitkNearestNeighbor)
            write_image(sitk.Cast(there, sitk.sitkInt16), partial / f"{person}_seg.nii.gz")
        # Wherever this is interrupted, the next call finds a part of what the record lists, and does this person again.
        _remove_brain(brains, person)
        outputs = {file.name: digest(file) for file in _outputs(partial, person, files)}
        measured = {"litres": outcome.litres, "labels": outcome.labels, "doubts": outcome.doubts}
        record[person] = {"inputs": inputs, "outputs": outputs, **measured}
        _write_record(brains, record)
    return outcome


def _read_record(brains: Path) -> dict[str, dict[str, Any]]:
    """Return by person what the brains were made of; without a record that can be read, they are of another origin."""
    try:
        record = json.loads((brains / RECORD).read_text(encoding="utf-8"))
        keys = {"inputs", "outputs", "litres", "labels", "doubts"}
        return {person: known for person, known in record["people"].items() if keys <= known.keys()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_record(brains: Path, record: Mapping[str, Mapping[str, Any]]) -> None:
    with whole_or_nothing(brains / RECORD) as partial:
        text = json.dumps({"version": __version__, "people": record}, indent=2)
        partial.write_text(text + "\n", encoding="utf-8")

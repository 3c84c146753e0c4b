"""The T1w scans of a BIDS dataset as the pairs of a cohort, and the results as a BIDS derivative (BIDS 1.9).

derivative/dataset_description.json
derivative/sub-01/ses-1/anat/sub-01_ses-1_from-T1w_to-ULAE_mode-image_xfm.h5
derivative/sub-01/ses-1/anat/sub-01_ses-1_space-ULAE_T1w.nii.gz, .json
derivative/sub-01_ses-1_to-ULAE/...       the whole result of the pair, which `.bidsignore` names
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RegistrationError
from ..files.writing import whole_or_nothing
from ..geometry.canonical import TEMPLATE
from .cases import Case, with_checked_names
from .made_from import read_record
from .summary import CASE_DONE, Row

DESCRIPTION = "dataset_description.json"
SPACE = "ULAE"  # what the shipped template is called in names of files
TOOL = "ulae"
# The complete results, and the transforms, whose names are those that BIDS has proposed (BEP 14) and others use.
IGNORED = "summary.*\nsub-*_to-*\n*_xfm.*\n"
SUFFIX = re.compile(r"_T1w\.nii(\.gz)?$")
NAMED = re.compile(r"(.+)_(?:from-T1w_to-[^_]+_mode-image_xfm\.h5|space-[^_]+_T1w\.(?:nii\.gz|json))")
TEMPLATE_COPY = "sourcedata/template.nii.gz"


def bids_cases(dataset: Path, derivative: Path, session: str | None = None) -> list[Case]:
    """Pair the T1w scans of a dataset with the shipped template, or with the scan of one session of the same subject.

    Args:
        dataset: with `sub-*/anat/*_T1w.nii.gz` or `sub-*/ses-*/anat/*_T1w.nii.gz`.
        derivative: where the results will be written.
        session: the label of the session whose scan is fixed, without "ses-"; None takes the template.

    Returns:
        The pairs; those of a subject without a single scan in that session have this as their problem.

    Raises:
        RegistrationError: for a folder without such scans, with one that is not named after its folders, with two
            files of one of them or with folders that cannot be read, where a pair cannot have its name, where no
            subject has a single scan in that session and others, or where `derivative` is the dataset itself or one of
            another origin.
    """
    _check_derivative(dataset, derivative)
    scans = sorted([*_scans(dataset, "sub-*/anat/*"), *_scans(dataset, "sub-*/ses-*/anat/*")])
    if not scans:
        raise RegistrationError(f"{dataset} holds no sub-*/[ses-*/]anat/*_T1w.nii.gz; give a folder in BIDS form.")
    files_of = defaultdict(list)
    for scan in scans:
        folders = list(scan.relative_to(dataset).parts[:-2])
        if _folders(SUFFIX.sub("", scan.name)) != folders:
            raise RegistrationError(
                f"{scan} is not named after its folders; rename it to {'_'.join(folders)}_[...]T1w.nii.gz."
            )
        files_of[SUFFIX.sub("", scan.name)].append(scan.name)
    for names in files_of.values():
        if len(names) > 1:
            raise RegistrationError(f"{' and '.join(names)} are two files of one scan; take one of them away.")
    if session is None:
        return with_checked_names([Case(_name(scan, SPACE), {"fixed": TEMPLATE, "moving": scan}) for scan in scans])
    people = defaultdict(list)
    for scan in scans:
        people[scan.relative_to(dataset).parts[0]].append(scan)
    cases = []
    for person, found in people.items():
        fixed = [scan for scan in found if scan.parent.parent.name == f"ses-{session}"]
        problem = "" if len(fixed) == 1 else f"{person} has {len(fixed)} T1w scans in session {session}; one is needed."
        files = {} if problem else {"fixed": fixed[0]}
        moving = [scan for scan in found if [scan] != fixed]
        cases += [Case(_name(scan, f"ses{session}"), {**files, "moving": scan}, problem) for scan in moving]
    if all(case.problem for case in cases):
        raise RegistrationError(
            f"No subject of {dataset} has one T1w scan in session {session} and others to register to it; name another "
            "session."
        )
    return with_checked_names(cases)


def describe_derivative(dataset: Path, derivative: Path, session: str | None = None) -> None:
    """Write what a derivative says of itself, and the template that its scans are registered to.

    Args:
        dataset: the scans come from.
        derivative: the folder of the cohort.
        session: as for `bids_cases`.

    Raises:
        RegistrationError: where a file cannot be written.
    """
    _write_json(
        derivative / DESCRIPTION,
        {
            "Name": f"{dataset.resolve().name}, registered with ULAE-net",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": TOOL, "Version": __version__}],
            "DatasetLinks": {"raw": _link(dataset.resolve(), derivative.resolve())},
        },
    )
    with whole_or_nothing(derivative / ".bidsignore") as partial:
        partial.write_text(IGNORED, encoding="utf-8")
    if session is None:
        with whole_or_nothing(derivative / TEMPLATE_COPY) as partial:  # no link to a file of the package
            shutil.copyfile(TEMPLATE, partial)


def _link(target: Path, folder: Path) -> str:
    """Return the path of a dataset from a folder, or its whole address where there is none, as on another drive."""
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:
        return target.as_uri()


def name_results(dataset: Path, derivative: Path, row: Row, session: str | None = None) -> None:
    """Give the results of a pair the names that BIDS asks for; where it is not done, take those of an earlier run away.

    Args:
        dataset: the scans came from.
        derivative: the folder of the cohort.
        row: of the pair, as it is in the summary.
        session: as for `bids_cases`.

    Raises:
        RegistrationError: where a file cannot be written or taken away, or a scan is no longer in the dataset.
    """
    source, _, space = row["name"].rpartition("_to-")
    parts = _folders(source)
    place = derivative.joinpath(*parts, "anat")
    transform = place / f"{source}_from-T1w_to-{space}_mode-image_xfm.h5"
    warped, sidecar = (place / f"{source}_space-{space}_T1w{ending}" for ending in (".nii.gz", ".json"))
    if row["status"] != CASE_DONE:
        try:
            for file in (transform, warped, sidecar):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise RegistrationError(
                f"An earlier result of {row['name']} could not be taken away ({error.strerror}); close its files and "
                f"remove them from {place}."
            ) from error
        return
    result = derivative / row["name"]
    _put(result / "transform.h5", transform)
    _put(result / "warped.nii.gz", warped)
    reference = f"bids::{TEMPLATE_COPY}"
    if session is not None:
        reference = _address(dataset, f"{parts[0]}/ses-{session}/anat/*")
    _write_json(
        sidecar,
        {
            "Sources": [_address(dataset, "/".join([*parts, "anat", source]))],
            "SpatialReference": reference,
            "SkullStripped": _is_stripped(result),
        },
    )


def scans_gone(dataset: Path, derivative: Path) -> list[str]:
    """Name the scans that have files under BIDS names in a derivative, and are no longer in the dataset.

    Returns:
        The names without extension, such as "sub-01_ses-1_T1w".
    """
    files = [file.relative_to(derivative) for file in derivative.glob("sub-*/**/anat/*")]
    scans = {file.with_name(name[1]) for file in files if (name := NAMED.fullmatch(file.name))}
    return sorted(f"{scan.name}_T1w" for scan in scans if not _scans(dataset, scan.as_posix()))


def _scans(dataset: Path, pattern: str) -> list[Path]:
    """Find the T1w scans of a dataset, without the files that lie beside them.

    Args:
        dataset: the folder.
        pattern: of their paths in it, without the ending "_T1w.nii.gz".

    Raises:
        RegistrationError: where a folder that may hold some cannot be read.
    """
    found = [dataset]
    for part in f"{pattern}_T1w.nii*".split("/"):
        found = [path for folder in found for path in _matching(folder, part)]
    # The names of hidden files, as macOS leaves them on other systems' disks, end like those of scans.
    return [file for file in found if SUFFIX.search(file.name) and not file.name.startswith(".")]


def _matching(folder: Path, pattern: str) -> list[Path]:
    """List what a folder holds under names of a pattern; one without "*" is a name, of what need not be there.

    Raises:
        RegistrationError: where it cannot be read, which `Path.glob` would take for an empty folder.
    """
    if "*" not in pattern:
        return [folder / pattern]
    try:
        return [folder / name for name in os.listdir(folder) if fnmatchcase(name, pattern)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RegistrationError(
            f"{folder} cannot be read ({error.strerror}); make it readable, or take it out of the dataset."
        ) from None


def _address(dataset: Path, pattern: str) -> str:
    """Return the BIDS URI of the scan that matches a pattern of `_scans`.

    Raises:
        RegistrationError: where it is no longer there, or cannot be looked for.
    """
    scans = _scans(dataset, pattern)
    if not scans:
        raise RegistrationError(f"{dataset / pattern}_T1w.nii.gz is no longer there; bring it back and call it again.")
    return "bids:raw:" + scans[0].relative_to(dataset).as_posix()


def _is_stripped(result: Path) -> bool:
    """Tell whether the moving scan of a result is known to show the brain alone.

    BIDS requires an answer, also of a scan that was taken as it is, at which nobody has looked.
    """
    record = read_record(result)
    was_looked_at = record is not None and record.settings.get("brain") != "skip"
    # A mask is there only where the scan shows more than the brain.
    return was_looked_at and not (result / "moving_brain.nii.gz").is_file()


def _folders(name: str) -> list[str]:
    """Return the folders of a subject, and of a session, that a name tells."""
    return [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]


def _name(moving: Path, space: str) -> str:
    return f"{SUFFIX.sub('', moving.name)}_to-{space}"


def _check_derivative(dataset: Path, derivative: Path) -> None:
    """Refuse the dataset itself, and a folder that describes itself as a dataset which this program has not made."""
    if derivative.resolve() == dataset.resolve():
        raise RegistrationError(
            f"{derivative} is the dataset itself; write to a folder of its own, such as derivatives/{TOOL}."
        )
    file = derivative / DESCRIPTION
    if not os.path.exists(file):
        return
    try:
        tools = [tool["Name"] for tool in json.loads(file.read_text(encoding="utf-8"))["GeneratedBy"]]
    except (OSError, ValueError, KeyError, TypeError):
        tools = []
    if TOOL not in tools:
        raise RegistrationError(
            f"{derivative} is a dataset that {TOOL} has not made; give a folder of its own, such as derivatives/{TOOL}."
        )


def _put(source: Path, target: Path) -> None:
    """Let a file appear under a second name: as a link where the disk can do that, else as a copy."""
    if os.path.exists(target) and target.samefile(source):
        return
    with whole_or_nothing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with whole_or_nothing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

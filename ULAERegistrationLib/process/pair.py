"""Register one pair of a cohort into its folder, unless its result is there."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import Cancelled, RegistrationError, lacks_memory, sentence_of
from ..files.rescue import without_advice
from ..files.volumes import read_labels, read_volume
from ..files.writing import PARTIAL, check_output_folder, partial_name, whole_folder_or_nothing
from ..progress import Progress
from ..settings import RegistrationSettings
from .cases import Case
from .made_from import MadeFrom, has_result, read_record, version_of, write_record
from .summary import CASE_DONE, CASE_FAILED, CASE_NOT_DONE, SUMMARY, THUMBNAIL, Row

LOCKS = ".locks"  # folder of files that processes lock; locks are freed by the system, and the files stay


class _CohortUnwritableError(RegistrationError):
    """The folder of the cohort takes no result, so that no other pair needs to be registered."""


def run_case(case: Case, target: Path, settings: RegistrationSettings, progress: Progress) -> Row:
    """Register a case unless its result is there, and return its row of the summary.

    Only one process at a time works on a case. Another one waits, and then finds its result.

    Args:
        case: the pair.
        target: the folder for its result.
        settings: of the registration.
        progress: called with the fraction done and what is being done.

    Returns:
        The row. Its status is "not done" where the folder of the cohort takes no result at all, of other pairs neither.

    Raises:
        Cancelled: where `progress` raises it.
    """
    try:
        with _alone(target):
            return _row(case, target, settings, progress)
    except Cancelled:
        raise
    except Exception as error:  # a pair that fails must not stop the others
        kept = f" {target} still holds an earlier result, of other inputs or settings."
        row = failed_row(case, told(error) + (kept if has_result(target) else ""))
        return {**row, "status": CASE_NOT_DONE} if isinstance(error, _CohortUnwritableError) else row


def standing_row(case: Case, target: Path, settings: RegistrationSettings) -> Row | None:
    """Return the row of a case whose result is there, without waiting for another process; None where none counts.

    Args:
        case: the pair.
        target: the folder for its result.
        settings: of the registration.
    """
    if case.problem or not has_result(target):
        return None
    try:
        return _done_row(case, target) if _changes(target, MadeFrom.of(case.files, settings)) is None else None
    except Exception:  # the registration says why
        return None


def failed_row(case: Case, sentence: str) -> Row:
    """Return the row of a case that failed, with the reason."""
    return {"name": case.name, "status": CASE_FAILED, "message": sentence}


@contextmanager
def locked(folder: Path, name: str, timeout: float = -1) -> Iterator[None]:
    """Hold one of the locks in the folder of a cohort, which the system frees however a process ends.

    Args:
        folder: of the cohort.
        name: of the lock.
        timeout: how many seconds to wait for another process that holds it; -1 waits for its end.

    Raises:
        Timeout: where another process still holds it then.
        RegistrationError: where it cannot be locked.
    """
    file = folder / LOCKS / name
    lock = FileLock(file, timeout=timeout)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:  # another user's, or a disk without locks
        reason = getattr(error, "strerror", None) or str(error)
        raise RegistrationError(
            f"{file} cannot be locked ({reason}); see that you can write there and nothing is in its place, or choose "
            "another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from working on the same case, and remove what one left that was killed."""
    with locked(target.parent, target.name):
        for left in target.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _row(case: Case, target: Path, settings: RegistrationSettings, progress: Progress) -> Row:
    if case.problem:
        raise RegistrationError(case.problem)
    again = ""
    made_from = MadeFrom.of(case.files, settings)
    changes = _changes(target, made_from)
    if changes is not None:
        again = f" Registered again: {changes}." if changes else ""
        _register(case, target, settings, made_from, progress)
    return _done_row(case, target, again)


def _done_row(case: Case, target: Path, again: str = "") -> Row:
    """Return the row of a case whose result is there; `again` says why it has been registered again."""
    quality = _quality(target)
    if quality is None:
        raise RegistrationError(f"{target / 'quality.json'} cannot be read; give the same call again.")
    message = " ".join(quality["reasons"]) + again
    row = {"name": case.name, "status": CASE_DONE, "version": version_of(target), "message": message}
    return {**row, **_measures(quality)}


def _quality(target: Path) -> dict[str, Any] | None:
    """Read the measures of a result; None where they are damaged."""
    try:
        quality = json.loads((target / "quality.json").read_text(encoding="utf-8"))
        return quality if all(isinstance(reason, str) for reason in quality["reasons"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _changes(target: Path, now: MadeFrom) -> str | None:
    """Say why a case has to be registered, "" where it has no result yet; None where its result is there."""
    if not has_result(target):
        return ""
    earlier = read_record(target)
    if earlier is None or _quality(target) is None:
        return "what the earlier result was made from is not known"
    changes = now.changes(earlier)
    return f"changed since the earlier result: {changes}" if changes else None


def _register(
    case: Case, target: Path, settings: RegistrationSettings, made_from: MadeFrom, progress: Progress
) -> None:
    """Register a case and write its result."""
    # Imported here, so that errors in the table are reported before torch is loaded.
    from ..output.thumbnail import thumbnail
    from ..registration import register

    _write(check_output_folder, target)
    files = dict(case.files)
    fixed, moving = read_volume(files.pop("fixed"), "fixed"), read_volume(files.pop("moving"), "moving")
    labels = files.pop("moving_labels", None)
    labels = labels and read_labels(labels, moving, "moving")
    began = time.monotonic()
    registration = register(fixed, moving, settings, **files, progress=lambda part, what: progress(0.8 * part, what))
    warped_labels = registration.warp_labels(labels) if labels else None
    progress(0.8, f"Writing ({time.monotonic() - began:.0f} s so far)")

    def save(folder: Path) -> None:
        with whole_folder_or_nothing(folder) as partial:
            registration.save(partial, warped_labels)
            (partial / THUMBNAIL).write_bytes(thumbnail(registration.view()))
            write_record(partial, made_from.once_written(case.files, target, partial))

    _write(save, target)


def _write(write: Callable[[Path], object], target: Path) -> None:
    """Write to the folder of a pair; where that fails, try another one beside it, to learn whether the disk takes any.

    Nothing is kept in another place: the next run would not find it, and every further pair would fill that place too.

    Args:
        write: writes to the folder that it is given, completely or not at all.
        target: the folder of the pair.

    Raises:
        RegistrationError: where the pair's folder alone cannot be written.
        _CohortUnwritableError: where no folder beside it can be written either.
    """
    try:
        write(target)
    except RegistrationError as error:
        other = target.with_name(f"{partial_name()}-other")
        try:
            write(other)
        except RegistrationError:
            sentence = f"{without_advice(error)}, and {target.parent} takes no other result."
            raise _CohortUnwritableError(sentence) from error
        finally:
            shutil.rmtree(other, ignore_errors=True)
        raise


def told(error: BaseException) -> str:
    """Say in a sentence why a case failed; the traceback of what was not expected goes to standard error."""
    if not isinstance(error, RegistrationError) and not lacks_memory(error):
        traceback.print_exception(error)
    return sentence_of(error)


def _measures(quality: dict[str, Any]) -> dict[str, str]:
    measures = {name: quality[name] for name in SUMMARY if name in quality}
    return {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in measures.items()}

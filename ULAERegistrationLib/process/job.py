"""Run a registration in a separate process: start, follow and cancel it, and clean up in every case.

Beside `settings` and `errors` only the standard library is imported, so that Slicer can import this module at any time.
The process itself runs `worker`.

>>> job = Job()  # doctest: +SKIP
>>> # write fixed.nrrd and moving.nrrd into job.folder
>>> job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"))  # doctest: +SKIP
>>> while job.poll() == "running":  # doctest: +SKIP
...     print(job.fraction, job.message)
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import RegistrationError
from ..files.rescue import ELSEWHERE
from ..settings import RegistrationSettings

if TYPE_CHECKING:  # it needs SimpleITK, which this module does without
    from .cases import CaseJob

READY, RUNNING, DONE, FAILED, CANCELLED = "ready", "running", "done", "failed", "cancelled"
LOG_LINES = 2000  # number of lines kept, the newest
KILL_SECONDS = 2.0  # how long to wait for a killed process to end
REMOVE_SECONDS = 3.0  # how long to retry removing its files after that
STREAM_SECONDS = 5.0  # how long to wait for each output stream of an ended process to close
WINDOWS = os.name == "nt"
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
RESULT = "result"  # the folder of the results, within the job's
EXTRAS = "extras"  # the folder, within that of the results, of what is written after them
# What the process may tell, and in which types.
REPORTED: dict[str, type | tuple[type, ...]] = {
    "fraction": (int, float),
    "message": str,
    "error": str,
    "results": str,
    "outcome": dict,
}
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL) if hasattr(signal, "SIGKILL") else ()


@dataclass(frozen=True, kw_only=True)
class JobDescription:
    """The content of the job file, which tells the process what to do.

    Attributes:
        fixed, moving: files of the volumes; here and below, relative to the job file's folder.
        fixed_mask, moving_mask: files of their brain masks, or None.
        initial_transform: a file that SimpleITK reads, fixed to moving (LPS mm), or None.
        settings: of the registration.
        warped, steps, report: whether to write these results beside the transform.
        keep_files: whether to keep the folder when the parent process ends before this one.
    """

    fixed: str
    moving: str
    fixed_mask: str | None = None
    moving_mask: str | None = None
    initial_transform: str | None = None
    settings: RegistrationSettings = field(default_factory=RegistrationSettings)
    warped: bool = False
    steps: bool = False
    report: bool = False
    keep_files: bool = False

    def to_json(self) -> str:
        """Return the text of the job file."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> JobDescription:
        """Parse the text of a job file.

        Raises:
            RegistrationError: for a setting whose value is not allowed.
            TypeError, ValueError: where the text is no job file, or names an unknown field.
        """
        values = json.loads(text)
        return cls(**{**values, "settings": RegistrationSettings(**values.get("settings", {}))})


class Job:
    """One registration in another process, with a temporary folder for its input and its results.

    Attributes:
        folder: holds the input, which the caller writes before `start`, and the results once the state is "done";
            `close` removes it.
        state: "ready", "running", "done", "failed" or "cancelled".
        fraction: fraction done, 0 to 1.
        message: what is being done.
        error: one sentence, where the state is "failed".
        outcome: what the process told at its end, if it is one that does.
        results: the folder of the results; another than in `folder` where that was full.
        has_result: whether the results are whole. The extras of a job may still be written then.

    Args:
        keep_files: whether `close` keeps the folder, for debugging.
    """

    def __init__(self, keep_files: bool = False) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="ulae-"))
        except OSError as error:
            raise RegistrationError(
                f"There is no place for temporary files ({error.strerror}); free some space and register again."
            ) from None
        self.results = self.folder / RESULT
        self.has_result = False
        self.state = READY
        self.fraction = 0.0
        self.message = ""
        self.error = ""
        self.outcome: dict[str, str] = {}
        self._log: list[str] = []
        self._unread: list[str] = []
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._process: list[subprocess.Popen[str]] = []  # the finaliser must not refer to the job itself
        # The finaliser also runs at the interpreter's exit, so that no process and no file remains then.
        self._others: list[Path] = []  # folders of results in other places
        self._finish = weakref.finalize(self, _end, self._process, None if keep_files else self.folder, self._others)

    @property
    def log(self) -> str:
        """The output of the process except its progress: warnings, and the traceback of an unexpected error."""
        return "\n".join(self._log)

    def take_log(self) -> list[str]:
        """Return the lines of the log since the last call."""
        lines, self._unread = self._unread, []
        return lines

    def start(
        self, description: JobDescription | CaseJob, python: str | None = None, command: Sequence[str] | None = None
    ) -> None:
        """Start the process; where that fails, the state becomes "failed".

        Args:
            description: what to do; its file names are relative to `folder`.
            python: the interpreter, PythonSlicer in Slicer; None takes the one that runs this.
            command: replaces `python -m ULAERegistrationLib.process.worker`; the job file's path is appended to it.
        """
        job_file = self.folder / "job.json"
        try:
            job_file.write_text(description.to_json(), encoding="utf-8")
        except OSError as error:
            self.state = FAILED
            self.error = f"{self.folder} cannot be written ({error.strerror}); free some space and register again."
            return
        command = [*(command or [python or sys.executable, "-m", "ULAERegistrationLib.process.worker"]), str(job_file)]
        package_folder = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "PYTHONSAFEPATH": "1"}
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                text=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                creationflags=OWN_GROUP | NO_WINDOW if WINDOWS else 0,
                start_new_session=not WINDOWS,
            )
        except OSError as error:
            self.state = FAILED
            self.error = f"The registration could not be started with {command[0]}: {error.strerror}."
            return
        self._process.append(process)
        self.state = RUNNING
        for name in ("stdout", "stderr"):
            reader = threading.Thread(target=_read, args=(getattr(process, name), name, self._lines), daemon=True)
            reader.start()
            self._readers.append(reader)

    def poll(self) -> str:
        """Read the process's output since the last call, and return the state.

        It does not wait while the process runs. After its end it waits for the last lines, `STREAM_SECONDS` a stream at
        most.
        """
        if self.state != RUNNING:
            return self.state
        code = self._process[0].poll()
        if code is not None:
            for reader in self._readers:  # the last lines may not have been read yet
                reader.join(STREAM_SECONDS)
        while not self._lines.empty():
            self._take(*self._lines.get())
        if code is not None:
            self._conclude(code)
        return self.state

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the end of the process, at most `timeout` seconds, and return the state."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() == RUNNING and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.02)
        return self.state

    def cancel(self) -> None:
        """Kill the process and all its children; without effect when none runs."""
        if self.poll() == RUNNING:
            self.state = CANCELLED
            _kill_tree(self._process[0])

    def close(self) -> None:
        """Kill the process if it still runs, and remove the folder unless it is to be kept."""
        self.cancel()
        self._finish()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, stream: str, line: str) -> None:
        report = _report(line) if stream == "stdout" else None
        if report is None:
            for lines in (self._log, self._unread):
                lines.append(line)
                del lines[:-LOG_LINES]
            return
        self.fraction = min(max(report.get("fraction", self.fraction), 0.0), 1.0)
        self.message = report.get("message", self.message)
        self.error = report.get("error", self.error)
        self.outcome = report.get("outcome", self.outcome)
        place = Path(report.get("results", self.results))
        if place != self.results and place.parent.name.startswith(ELSEWHERE):
            self.results = place
            self._others.append(place.parent)
        if "results" in report:
            self.has_result = (self.results / "quality.json").is_file()

    def _conclude(self, code: int) -> None:
        has_result = bool(self.outcome) or (self.results / "quality.json").is_file()
        if code == 0 and not self.error and not has_result:
            self.state, self.error = FAILED, "The registration ended without a result; the log has the details."
            return
        if code == 0 and not self.error:
            self.state, self.fraction = DONE, 1.0
            return
        self.state = FAILED
        self.error = self.error or describe_exit(code, self.message, self._log)


def describe_exit(code: int, stage: str = "", log: Sequence[str] = ()) -> str:
    """Describe in a sentence the end of a process that reported no error.

    Args:
        code: its exit status; a negative one is the number of a signal.
        stage: what it was doing last, or empty.
        log: the lines that it wrote.
    """
    where = f" while {stage[0].lower()}{stage[1:]}" if stage else ""
    if code in KILLED:
        return f"The registration was killed{where}, most likely for want of memory; close other programs first."
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"The registration crashed{where} ({signal.Signals(-code).name}); the log has the details."
    if any(line.startswith("Traceback") for line in log):
        return f"The registration ended unexpectedly{where} ({log[-1]}); the log has the details."
    if code == 1:
        # Slicer's Python is a launcher, which returns 1 if a signal ended its child.
        return (
            f"The registration crashed{where}, most likely for want of memory; close other programs first."
            " The log has what it said before."
        )
    return f"The registration ended unexpectedly{where} (exit status {code}); the log has the details."


def _report(line: str) -> dict[str, Any] | None:
    """Parse a JSON line of the worker; return None for any other line, such as what a library has printed."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    is_known = all(isinstance(value, REPORTED.get(key, ())) for key, value in report.items())
    return report if is_known and not math.isnan(report.get("fraction", 0.0)) else None


def _read(stream: IO[str], name: str, lines: queue.SimpleQueue[tuple[str, str]]) -> None:
    with stream:
        for line in stream:
            lines.put((name, line.rstrip("\r\n")))


def _end(process: list[subprocess.Popen[str]], folder: Path | None, others: list[Path]) -> None:
    for one in process:
        _kill_tree(one)
        with contextlib.suppress(OSError):
            if one.stdin is not None:
                one.stdin.close()
    for one_folder in [*([] if folder is None else [folder]), *others]:
        _remove(one_folder)


def _remove(folder: Path) -> None:
    """Remove a folder, with retries: Windows removes no open file, and closes those of an ended process late."""
    deadline = time.monotonic() + REMOVE_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process and its descendants, and wait for its end."""
    if process.poll() is not None:
        return
    if WINDOWS:
        # The process may be Slicer's launcher, whose child computes; Windows cannot kill a process group.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                timeout=KILL_SECONDS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=NO_WINDOW,
            )
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)

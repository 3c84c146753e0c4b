"""A registration in a process of its own, as its parent sees it: start, follow, cancel, and clean up in every case.

Standard library only, so that Slicer can import it at any time. The other end is `worker`.

>>> job = Job()  # doctest: +SKIP
>>> # write fixed.nrrd and moving.nrrd into job.folder
>>> job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"))  # doctest: +SKIP
>>> while job.poll() == "running":  # doctest: +SKIP
...     print(job.fraction, job.message)
"""

from __future__ import annotations

import contextlib
import json
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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from ..settings import RegistrationSettings

READY, RUNNING, DONE, FAILED, CANCELLED = "ready", "running", "done", "failed", "cancelled"
LOG_LINES = 2000  # the newest lines kept
KILL_SECONDS = 2.0  # how long a killed process may take to disappear
REMOVE_SECONDS = 3.0  # how long its files may stay open after that
STREAM_SECONDS = 5.0  # how long the pipes of an ended process may stay open
WINDOWS = os.name == "nt"
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL) if hasattr(signal, "SIGKILL") else ()


@dataclass(frozen=True, kw_only=True)
class JobDescription:
    """What the process is to do: the content of the job file.

    Attributes:
        fixed, moving: the volumes; file names are relative to the job file's folder, here and below.
        fixed_mask, moving_mask: their brains, or None.
        initial_transform: a file that SimpleITK reads, fixed to moving (LPS mm), or None.
        settings: how to register.
        warped, steps, report: what to write beside the transform.
        keep_files: leave the folder where it is when the program that wanted the result is gone.
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
        """The job file's text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> JobDescription:
        """Read a job file.

        Raises:
            RegistrationError: for a setting that is not known.
            TypeError, ValueError: where it is no job file.
        """
        values = json.loads(text)
        return cls(**{**values, "settings": RegistrationSettings(**values.get("settings", {}))})


class Job:
    """One registration in another process, with a temporary folder for what goes in and comes out.

    Attributes:
        folder: where the inputs are put before `start` and the results lie after "done"; removed by `close`.
        state: "ready", "running", "done", "failed" or "cancelled".
        fraction: of the work done, 0 to 1.
        message: the stage in words.
        error: one sentence, where the state is "failed".

    Args:
        keep_files: leave the folder where it is, for those who look for a fault.
    """

    def __init__(self, keep_files: bool = False) -> None:
        self._keep_files = keep_files
        self.folder = Path(tempfile.mkdtemp(prefix="ulae-"))
        self.state = READY
        self.fraction = 0.0
        self.message = ""
        self.error = ""
        self._log: list[str] = []
        self._unread: list[str] = []
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._process: list[subprocess.Popen[str]] = []  # shared with the finaliser, which must not hold the job
        # Also runs at the interpreter's exit: no process and no file outlives the program that wanted them.
        self._finish = weakref.finalize(self, _end, self._process, None if keep_files else self.folder)

    @property
    def log(self) -> str:
        """What the process wrote beside its progress: warnings, and the traceback of an unexpected error."""
        return "\n".join(self._log)

    def take_log(self) -> list[str]:
        """The lines of the log that were not taken yet, for whoever shows it as it grows."""
        lines, self._unread = self._unread, []
        return lines

    def start(
        self, description: JobDescription, python: str | None = None, command: Sequence[str] | None = None
    ) -> None:
        """Starts the process.

        Args:
            description: what to do; its file names are relative to `folder`.
            python: the interpreter; this one's by default. In Slicer: PythonSlicer.
            command: replaces `python -m ULAERegistrationLib.process.worker`; the job file is added to it.
        """
        job_file = self.folder / "job.json"
        job_file.write_text(replace(description, keep_files=self._keep_files).to_json(), encoding="utf-8")
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
        """Takes in what the process has said since the last call; returns the state. Never waits."""
        if self.state != RUNNING:
            return self.state
        code = self._process[0].poll()
        if code is not None:
            for reader in self._readers:  # the last lines may still be on their way
                reader.join(STREAM_SECONDS)
        while not self._lines.empty():
            self._take(*self._lines.get())
        if code is not None:
            self._conclude(code)
        return self.state

    def wait(self, timeout: float | None = None) -> str:
        """Waits for the end, at most `timeout` seconds; returns the state."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() == RUNNING and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.02)
        return self.state

    def cancel(self) -> None:
        """Ends the process and all its children at once. Harmless when nothing runs."""
        if self.poll() == RUNNING:
            self.state = CANCELLED
            _kill_tree(self._process[0])

    def close(self) -> None:
        """Ends the process if it still runs, and removes the folder unless it is to be kept."""
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
        self.fraction = float(report.get("fraction", self.fraction))
        self.message = str(report.get("message", self.message))
        self.error = str(report.get("error", self.error))

    def _conclude(self, code: int) -> None:
        if code == 0 and not self.error:
            self.state, self.fraction = DONE, 1.0
            return
        self.state = FAILED
        self.error = self.error or describe_exit(code, self.message, self._log)


def describe_exit(code: int, stage: str = "", log: Sequence[str] = ()) -> str:
    """One sentence about a process that ended without saying why.

    Args:
        code: its exit status; a negative one is a signal's number.
        stage: what it was doing last.
        log: the lines it wrote.
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
        # Slicer's Python is a launcher, which turns the signal that ended its child into this.
        return (
            f"The registration crashed{where}, most likely for want of memory; close other programs first."
            " The log has what it said before."
        )
    return f"The registration ended unexpectedly{where} (exit status {code}); the log has the details."


def _report(line: str) -> dict[str, Any] | None:
    """A JSON line of the worker, or None for anything else."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _read(stream: IO[str], name: str, lines: queue.SimpleQueue[tuple[str, str]]) -> None:
    with stream:
        for line in stream:
            lines.put((name, line.rstrip("\r\n")))


def _end(process: list[subprocess.Popen[str]], folder: Path | None) -> None:
    for one in process:
        _kill_tree(one)
        with contextlib.suppress(OSError):
            if one.stdin is not None:
                one.stdin.close()
    if folder is not None:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a folder; Windows keeps files of an ended process open for a moment, and removes none that is open."""
    deadline = time.monotonic() + REMOVE_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _kill_tree(process: subprocess.Popen[str]) -> None:
    """Kills a process and its descendants, and waits for it to be gone."""
    if process.poll() is not None:
        return
    if WINDOWS:
        # The process may be Slicer's launcher, whose child does the work; Windows has no groups that can be killed.
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

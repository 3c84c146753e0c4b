"""A registration in a process of its own ends in every way it can, and leaves neither process nor file behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.process.job import Job, JobDescription, describe_exit
from ULAERegistrationLib.settings import RegistrationSettings

pytestmark = pytest.mark.slow

STANDIN = Path(__file__).parents[2] / "standin"
DIRECT = [sys.executable, str(STANDIN / "worker.py")]
LAUNCHED = [sys.executable, str(STANDIN / "launcher.py"), *DIRECT]  # as Slicer's Python is


@pytest.fixture
def images(tmp_path):
    """A small pair; what is registered does not matter here."""
    pair = [sitk.GaussianSource(size=[20, 22, 18], sigma=[5, 5, 5], mean=[10 + shift, 11, 9]) for shift in (0, 2)]
    return dict(zip(("fixed", "moving"), pair, strict=True))


def started(images, behaviour: str, stage: str, command=DIRECT, **kwargs) -> Job:
    job = Job(**kwargs)
    for name, image in images.items():
        sitk.WriteImage(image, str(job.folder / f"{name}.nrrd"))
    description = JobDescription(fixed="fixed.nrrd", moving="moving.nrrd", warped=True, steps=True, report=True)
    job.start(description, command=[*command, "known", behaviour, stage])
    return job


def wait_for(job: Job, message: str) -> None:
    deadline = time.monotonic() + 60
    while not job.message.startswith(message):
        assert job.poll() == "running", job.error
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_good_job_leaves_its_results_and_close_removes_them(images):
    with started(images, "go", "nowhere") as job:
        assert job.wait(60) == "done", job.error + job.log
        assert (job.fraction, job.message) == (1.0, "Done")
        names = {str(path.relative_to(job.folder / "result")) for path in (job.folder / "result").rglob("*.*")}
        steps = {f"extras/steps/{name}.nrrd" for name in ("0", "1", "2", "3", "flow1", "flow2", "flow3")}
        assert names == {"field.nrrd", "warped.nrrd", "quality.json", "extras/report.html"} | steps
    assert not job.folder.exists()


def test_the_result_is_whole_before_what_comes_beside_it(images):
    with started(images, "hang", "Writing the report") as job:
        wait_for(job, "Writing the report")
        assert (job.state, job.has_result) == ("running", True)
        assert (job.results / "quality.json").is_file()
        assert not (job.results / "extras" / "report.html").exists()


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("refuse", "The fixed image has no brain; choose another volume."),
        ("fail", "unexpectedly (ZeroDivisionError: something unforeseen)"),
        ("exhaust", "not enough memory"),
        ("crash", "crashed while refining this pair (SIGSEGV)"),
        ("kill", "killed while refining this pair, most likely for want of memory"),
    ],
)
def test_every_bad_end_becomes_one_sentence(images, behaviour, sentence):
    with started(images, behaviour, "Refining this pair") as job:
        assert job.wait(60) == "failed"
        assert sentence in job.error
        assert "\n" not in job.error
    assert not job.folder.exists()


@pytest.mark.parametrize("behaviour", ["crash", "kill"])
def test_a_launcher_that_hides_the_signal_still_gets_a_sentence_about_memory(images, behaviour):
    with started(images, behaviour, "Refining this pair", LAUNCHED) as job:
        assert job.wait(60) == "failed"
        assert job.error == (
            "The registration crashed while refining this pair, most likely for want of memory; close other programs"
            " first. The log has what it said before."
        )


def test_a_python_that_cannot_even_start_the_worker_is_not_taken_for_want_of_memory(images, tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise ImportError('no such symbol')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started(
        images, "go", "nowhere", [*LAUNCHED[:2], sys.executable, "-m", "ULAERegistrationLib.process.worker"]
    ) as job:
        assert job.wait(60) == "failed"
        assert (
            job.error == "The registration ended unexpectedly (ImportError: no such symbol); the log has the details."
        )


@pytest.mark.parametrize("error", ["OSError('[WinError 1114] c10.dll')", "ImportError('no symbol')"])
def test_a_torch_that_was_installed_by_halves_is_a_sentence(images, tmp_path, monkeypatch, error):
    (tmp_path / "torch.py").write_text(f"raise {error}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Job() as job:
        for name, image in images.items():
            sitk.WriteImage(image, str(job.folder / f"{name}.nrrd"))
        job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"))
        assert job.wait(60) == "failed"
        assert "in the module PyTorch Utils" in job.error


def test_an_account_whose_name_is_not_ascii_is_no_obstacle(images, tmp_path, monkeypatch):
    home = tmp_path / "Jürgen Åström 山田"
    home.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    with started(images, "go", "nowhere") as job:
        assert job.wait(60) == "done", job.error + job.log
        assert (job.folder / "result" / "extras" / "steps" / "flow3.nrrd").is_file()
    assert not job.folder.exists()


def test_files_in_the_working_folder_are_not_taken_for_python_packages(images, tmp_path, monkeypatch):
    for name in ("numpy", "random", "torch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is no package')")
    monkeypatch.chdir(tmp_path)
    with Job() as job:
        for name, image in images.items():
            sitk.WriteImage(image, str(job.folder / f"{name}.nrrd"))
        job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"))
        assert job.wait(60) == "failed"
        assert "a brain of 0.0028 litres, which is impossible" in job.error


def test_a_job_file_says_all_that_was_asked_for():
    settings = RegistrationSettings(preset="smooth", brain="skip")
    job = JobDescription(fixed="f.nrrd", moving="m.nrrd", moving_mask="k.nrrd", settings=settings, steps=True)
    assert JobDescription.from_json(job.to_json()) == job


def test_the_log_keeps_the_traceback_of_an_unexpected_error(images):
    with started(images, "fail", "Network, step 2") as job:
        job.wait(60)
        assert "Traceback" in job.log
        assert "ZeroDivisionError" in job.log


def test_cancel_ends_the_whole_process_tree_whatever_its_parts_are_doing(images):
    with started(images, "spawn", "Network, step 1 of 3") as job:
        wait_for(job, "Network, step 1 of 3")
        while "child" not in job.log:
            job.poll()
            time.sleep(0.01)
        child = int(job.log.split()[-1])
        family = [job._process[0].pid, child]
        assert all(psutil.pid_exists(one) for one in family)
        job.cancel()  # of processes that would go on for minutes
        deadline = time.monotonic() + 60
        while any(psutil.pid_exists(one) and psutil.Process(one).status() != psutil.STATUS_ZOMBIE for one in family):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert job.state == "cancelled"
        assert job.wait(1) == "cancelled"
    assert not job.folder.exists()


def test_cancel_on_windows_ends_the_whole_process_tree_without_psutil(images, tmp_path, monkeypatch):
    # Windows has no process groups to kill; its taskkill is played by a script that knows what /T and /F mean.
    taskkill = tmp_path / "taskkill"
    taskkill.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, psutil, sys\n"
        "pathlib.Path(__file__).with_name('called').touch()\n"
        "assert sys.argv[1:4] == ['/T', '/F', '/PID'], sys.argv\n"
        "process = psutil.Process(int(sys.argv[4]))\n"
        "for one in [*process.children(recursive=True), process]:\n"
        "    one.kill()\n"
    )
    taskkill.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("ULAERegistrationLib.process.job.WINDOWS", True, raising=False)
    with started(images, "spawn", "Network, step 1 of 3", LAUNCHED) as job:
        wait_for(job, "Network, step 1 of 3")
        while "child" not in job.log:
            job.poll()
            time.sleep(0.01)
        family = psutil.Process(job._process[0].pid).children(recursive=True)
        assert len(family) == 2  # the worker and its child
        with monkeypatch.context() as slicer:
            slicer.setitem(sys.modules, "psutil", None)  # Slicer has none
            job.cancel()
        assert (tmp_path / "called").exists()
        assert psutil.wait_procs(family, timeout=2.0)[1] == []
    assert not job.folder.exists()


def test_a_folder_that_is_still_in_use_for_a_moment_is_removed_all_the_same(images, monkeypatch):
    # Windows keeps files of an ended process open for a moment, and removes none that is open.
    job, real, tries = started(images, "refuse", "Network, step 1"), shutil.rmtree, []

    def rmtree(path, *arguments, **named):
        tries.append(job._process[0].poll())
        if len(tries) < 4:
            (job.folder / "result").mkdir(exist_ok=True)  # some of it goes and some stays
            if not named.get("ignore_errors"):
                raise PermissionError(13, "in use")
            return
        real(path, *arguments, **named)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    job.wait(60)
    job.close()
    assert not job.folder.exists()
    assert None not in tries  # never while the process was there


PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_job import started, wait_for
import SimpleITK as sitk
image = sitk.GaussianSource(size=[20, 22, 18], sigma=[5, 5, 5], mean=[10, 11, 9])
job = started({{"fixed": image, "moving": image}}, "hang", "Network, step 1")
wait_for(job, "Network, step 1")
print(job._process[0].pid, job.folder, flush=True)
sys.stdin.read()
"""


def program_that_registers() -> tuple[psutil.Popen, psutil.Process, Path]:
    """A program whose registration is in the network, and which exits when its input ends; its worker and folder."""
    parent = psutil.Popen([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1, text=True)
    worker, folder = parent.stdout.readline().split()
    return parent, psutil.Process(int(worker)), Path(folder)


def test_a_worker_whose_parent_is_killed_ends_too_and_removes_the_files():
    parent, worker, folder = program_that_registers()
    parent.kill()
    parent.wait()
    worker.wait(timeout=10)
    assert not folder.exists()


def test_a_program_that_exits_takes_its_job_and_files_with_it():
    parent, worker, folder = program_that_registers()
    parent.stdin.close()
    assert parent.wait(timeout=60) == 0
    assert not worker.is_running()
    assert not folder.exists()


def test_a_python_that_is_not_there_is_a_sentence():
    with Job() as job:
        job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"), python="/nowhere/python")
        assert job.state == "failed"
        assert job.error.startswith("The registration could not be started with /nowhere/python")


def spoken(code: str) -> Job:
    """A job whose process is a program of its own."""
    job = Job()
    job.start(JobDescription(fixed="fixed.nrrd", moving="moving.nrrd"), command=[sys.executable, "-c", code])
    return job


GARBAGE = """
import sys
for line in ('{"fraction": "much"}', '{"fraction": NaN}', '{"fraction": 7}', '{"message": ["a"]}', "[1]", "{" * 99999,
             '{"results": 5}', '{"results": "/"}', '{"other": 1}', "null", "progress: 5 %"):
    print(line)
sys.stdout.buffer.write(bytes(range(256)))
"""


def test_a_process_that_speaks_garbage_and_leaves_no_result_has_failed():
    with spoken(GARBAGE) as job:
        assert job.wait(30) == "failed"
        assert job.error == "The registration ended without a result; the log has the details."
        assert 0 <= job.fraction <= 1
        assert job.results == job.folder / "result"
        assert "progress: 5 %" in job.log
    assert not job.folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows stops no process")
def test_a_process_that_has_stopped_is_cancelled_like_any_other():
    with spoken("import os, signal; print(flush=True); os.kill(os.getpid(), signal.SIGSTOP)") as job:
        process = psutil.Process(job._process[0].pid)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert job.poll() == "running"
        job.cancel()
        assert job.state == "cancelled"
        assert not process.is_running()


def test_a_result_for_which_the_folder_has_no_room_finds_another_place(images, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Job() as job:
        (job.folder / "result").write_text("in the way")  # as a full disk, this keeps the result from its place
        for name, image in images.items():
            sitk.WriteImage(image, str(job.folder / f"{name}.nrrd"))
        description = JobDescription(fixed="fixed.nrrd", moving="moving.nrrd")
        job.start(description, command=[*DIRECT, "known", "go", "nowhere"])
        assert job.wait(60) == "done", job.error + job.log
        assert job.results.parent.parent == tmp_path
        assert sitk.ReadImage(str(job.results / "field.nrrd")).GetDimension() == 3
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_place_for_temporary_files_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(RegistrationError, match="no place for temporary files"):
        Job()


def test_files_stay_when_they_are_to_be_kept(images):
    with started(images, "refuse", "Network, step 1", keep_files=True) as job:
        job.wait(60)
    assert (job.folder / "job.json").is_file()
    for path in sorted(job.folder.rglob("*"), reverse=True):
        path.unlink()
    job.folder.rmdir()


def test_jobs_needs_the_standard_library_alone():
    module = "ULAERegistrationLib.process.job"
    code = f"import sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    loaded = psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True).communicate()[0].split()
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"ULAERegistrationLib"}


def test_exit_codes_of_other_systems_are_described_too():
    assert "exit status 3221225477" in describe_exit(3221225477, "")

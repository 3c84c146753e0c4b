"""On several workers each pair runs in a process of its own, and whatever dies takes nothing else with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dask.system import CPU_COUNT
from filelock import FileLock

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import NOT_ENOUGH_MEMORY, RegistrationError
from ULAERegistrationLib.process import cluster
from ULAERegistrationLib.process.batch import run_batch
from ULAERegistrationLib.process.cases import Case, CaseJob, read_cases
from ULAERegistrationLib.process.cluster import PROGRAM, _client, _reason, _slots, run_on_workers
from ULAERegistrationLib.process.pair import LOCKS
from ULAERegistrationLib.settings import RegistrationSettings

pytest.importorskip("distributed")
STANDIN = (str(Path(__file__).parents[2] / "standin" / "case_worker.py"),)


def cases(folder: Path, *names: str) -> list[Case]:
    return [Case(name, {"fixed": folder / "f", "moving": folder / "m"}) for name in names]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal that Windows lacks")
def test_a_case_whose_worker_dies_goes_to_another_and_one_that_dies_itself_is_a_line(tmp_path) -> None:
    names = ("ann", "crash", "orphan", "bob")
    found = run_on_workers(cases(tmp_path, *names), tmp_path, RegistrationSettings(), 2, program=STANDIN)
    rows = {row["name"]: row for row in found}
    assert set(rows) == set(names)
    assert (rows["ann"]["message"], rows["bob"]["message"]) == ("attempt 1", "attempt 1")
    assert rows["orphan"]["message"] == "attempt 2"
    assert rows["crash"]["status"] == "failed"
    assert rows["crash"]["message"].startswith("The registration was killed")
    told = [(tmp_path / name / "attempt1").read_text().split() for name in names]
    assert len({process for process, _, _ in told}) == 4
    assert os.getpid() not in {int(parent) for _, parent, _ in told}
    assert {int(threads) for *_, threads in told} == {max(1, CPU_COUNT // 2)}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_pairs_run_at_a_time_as_were_asked_for_however_many_cores_there_are(workers) -> None:
    with _client(workers, None) as client:
        assert sum(_slots(client).values()) == workers


@pytest.mark.slow
def test_the_log_of_a_pair_that_failed_is_on_standard_error_as_with_one_worker(tmp_path, capsys) -> None:
    names = ("ann", "fault", "told")
    found = run_on_workers(cases(tmp_path, *names), tmp_path, RegistrationSettings(), 2, program=STANDIN)
    rows = {row["name"]: row for row in found}
    assert rows["fault"]["message"].endswith("; the log has the details.")
    log = capsys.readouterr().err
    assert "fault:\nTraceback (most recent call last):\n" in log
    assert "RuntimeError: in the case's own process\n" in log
    assert "told:\na word of told\n" in log
    assert "a word of ann" not in log


@pytest.mark.slow
def test_a_pair_that_cannot_be_read_is_a_line_and_its_reason_comes_from_the_process(tmp_path) -> None:
    (tmp_path / "f").write_text("no image")
    (tmp_path / "m").write_text("no image")
    rows = run_batch(cases(tmp_path, "ann"), tmp_path / "out", RegistrationSettings(), workers=2)
    assert rows[0]["status"] == "failed"
    assert "is not a volume" in rows[0]["message"]
    assert "ann" in (tmp_path / "out" / "summary.csv").read_text()


@pytest.mark.slow
def test_the_folder_of_a_job_is_removed_where_the_worker_that_made_it_was_killed(tmp_path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    job = CaseJob(case=cases(tmp_path, "ann")[0], target=tmp_path / "ann", settings=RegistrationSettings(), threads=1)
    (folder / "job.json").write_text(job.to_json())
    (tmp_path / LOCKS).mkdir()
    command = [sys.executable, *PROGRAM, str(folder / "job.json")]
    with FileLock(tmp_path / LOCKS / "ann"):  # the process waits for it, and so is at work
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdin.close()  # as it closes when the worker ends
        assert process.wait(60) == 1
    assert not folder.exists()


@pytest.mark.slow
def test_a_run_whose_scheduler_is_killed_says_so_in_a_sentence(tmp_path) -> None:
    """The scheduler is killed while no worker has come, so nothing is done yet."""
    address = tmp_path / "scheduler.json"
    command = [
        "-m",
        "distributed.cli.dask_scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(address),
    ]
    scheduler = subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)
    try:
        while not (address.exists() and address.read_text()):  # it is written after it is made
            assert scheduler.poll() is None
        threading.Timer(3, scheduler.kill).start()
        with pytest.raises(RegistrationError, match="The scheduler has ended"):
            list(
                run_on_workers(
                    cases(tmp_path, "ann"),
                    tmp_path,
                    RegistrationSettings(),
                    1,
                    json.loads(address.read_text())["address"],
                    program=STANDIN,
                )
            )
    finally:
        scheduler.kill()
        scheduler.wait()


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_one_runs(tmp_path, monkeypatch) -> None:
    from ULAERegistrationLib.process import batch

    def run_case(case, *_):
        with pytest.raises(RegistrationError, match="Another run is writing to"):
            run_batch(cases(tmp_path, "bob"), tmp_path / "out", RegistrationSettings())
        return {"name": case.name, "status": "failed", "message": "seen"}

    monkeypatch.setattr(batch, "run_case", run_case)
    (row,) = run_batch(cases(tmp_path, "ann"), tmp_path / "out", RegistrationSettings())
    assert row["message"] == "seen"


def test_a_second_run_that_is_refused_leaves_what_the_first_one_says_of_its_derivative(tmp_path, monkeypatch) -> None:
    from ULAERegistrationLib.process import batch

    for name in ("first", "second"):
        scan = tmp_path / name / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        scan.touch()
    calls = [["batch", "--bids", str(tmp_path / name), "-o", str(tmp_path / "out")] for name in ("first", "second")]
    told = []

    def run_case(case, *_):
        assert main(calls[1]) == 1
        told.append(json.loads((tmp_path / "out" / "dataset_description.json").read_text()))
        return {"name": case.name, "status": "failed", "message": "seen"}

    monkeypatch.setattr(batch, "run_case", run_case)
    assert main(calls[0]) == 1
    assert [about["DatasetLinks"] for about in told] == [{"raw": "../first"}]


def test_pairs_that_are_done_are_given_to_no_worker(table, quick, tmp_path, monkeypatch) -> None:
    """Each would load torch in a process of its own, only to find its result."""
    given = []

    def run_on_workers(cases, *_):
        for case in cases:
            given.append(case.name)
            yield {"name": case.name, "status": "failed", "message": "On a worker."}

    monkeypatch.setattr(cluster, "run_on_workers", run_on_workers)
    rows = {"ann": "scan.nii.gz", "bob": "bad.nii.gz", "cid": "scan.nii.gz", "dan": "scan.nii.gz"}
    cases = read_cases(table(*(f"{name},{fixed},scan.nii.gz" for name, fixed in rows.items())))
    run_batch(cases, tmp_path / "out", RegistrationSettings())
    (tmp_path / "out" / "dan" / "made_from.json").unlink()
    heard = []
    found = run_batch(
        cases, tmp_path / "out", RegistrationSettings(), lambda *told: heard.append(told), lambda row: None, 2
    )
    assert given == ["bob", "dan"]
    assert [row["message"] for row in found] == ["They match.", "On a worker.", "They match.", "On a worker."]
    assert heard[0] == (0.25, "1 of 4 pairs")
    run_batch([cases[0], cases[2]], tmp_path / "out", RegistrationSettings(), workers=2)
    run_batch([cases[0], cases[2]], tmp_path / "out", RegistrationSettings(preset="fast"), workers=2)
    assert given == ["bob", "dan", "ann", "cid"]


def test_what_a_worker_says_in_a_sentence_is_passed_on_as_it_is() -> None:
    """Such as that there is no place for temporary files."""
    sentence = "There is no place for temporary files (No space left on device); free some space and register again."
    assert _reason(RegistrationError(sentence)) == sentence
    assert _reason(MemoryError()) == NOT_ENOUGH_MEMORY
    assert _reason(KeyError("x")) == "The registration failed unexpectedly (KeyError: 'x')."


def test_without_dask_several_workers_are_refused_with_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RegistrationError, match="pip install distributed"):
        run_batch(cases(tmp_path, "ann"), tmp_path / "out", RegistrationSettings(), workers=2)

"""On several workers each pair runs in a process of its own, and whatever dies takes nothing else with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from ULAERegistrationLib import threads
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import NOT_ENOUGH_MEMORY, Cancelled, RegistrationError
from ULAERegistrationLib.process import local_workers
from ULAERegistrationLib.process.batch import run_batch
from ULAERegistrationLib.process.case_process import PROGRAM
from ULAERegistrationLib.process.cases import Case, CaseJob, read_cases
from ULAERegistrationLib.process.cluster import _client, _reason, _slots, run_on_cluster
from ULAERegistrationLib.process.local_workers import run_on_this_machine
from ULAERegistrationLib.process.pair import LOCKS
from ULAERegistrationLib.settings import RegistrationSettings
from ULAERegistrationLib.threads import usable_cores

STANDIN = (str(Path(__file__).parents[2] / "standin" / "case_worker.py"),)


def cases(folder: Path, *names: str) -> list[Case]:
    return [Case(name, {"fixed": folder / "f", "moving": folder / "m"}) for name in names]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers, as somebody starts them on a cluster."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(params=["this machine", "a cluster"])
def registered(request, tmp_path):
    """Registers pairs of the stand-in on two workers, here or on a cluster, and returns their rows by name."""

    def register(*names: str):
        given = (cases(tmp_path, *names), tmp_path, RegistrationSettings())
        if request.param == "this machine":
            found = run_on_this_machine(*given, 2, program=STANDIN)
        else:
            found = run_on_cluster(*given, request.getfixturevalue("scheduler"), program=STANDIN)
        return {row["name"]: row for row in found}

    return register


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal that Windows lacks")
def test_a_case_that_dies_is_a_line_and_the_others_run_in_processes_of_their_own(registered, tmp_path) -> None:
    names = ("ann", "crash", "bob")
    rows = registered(*names)
    assert set(rows) == set(names)
    assert (rows["ann"]["message"], rows["bob"]["message"]) == ("attempt 1", "attempt 1")
    assert rows["crash"]["status"] == "failed"
    assert rows["crash"]["message"].startswith("The registration was killed")
    told = [(tmp_path / name / "attempt1").read_text().split() for name in names]
    assert len({process for process, _, _ in told}) == 3
    assert os.getpid() not in {int(process) for process, _, _ in told}
    assert {int(number) for *_, number in told} == {max(1, usable_cores() // 2)}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal that Windows lacks")
def test_a_case_whose_worker_on_a_cluster_dies_goes_to_another(scheduler, tmp_path) -> None:
    names = ("ann", "orphan", "bob")
    found = run_on_cluster(cases(tmp_path, *names), tmp_path, RegistrationSettings(), scheduler, program=STANDIN)
    assert {row["name"]: row["message"] for row in found} == {
        "ann": "attempt 1",
        "orphan": "attempt 2",
        "bob": "attempt 1",
    }


@pytest.mark.slow
def test_the_cores_of_a_clusters_machine_are_shared_out_among_its_workers(scheduler) -> None:
    with _client(scheduler) as client:
        client.wait_for_workers(2)  # one may have been killed and started again
        assert sum(_slots(client).values()) == 2


@pytest.mark.slow
def test_the_log_of_a_pair_that_failed_is_on_standard_error_as_with_one_worker(registered, capsys) -> None:
    rows = registered("ann", "fault", "told")
    assert rows["fault"]["message"].endswith("; the log has the details.")
    log = capsys.readouterr().err
    assert "fault:\nTraceback (most recent call last):\n" in log
    assert "RuntimeError: in the case's own process\n" in log
    assert "told:\na word of told\n" in log
    assert "a word of ann" not in log


@pytest.mark.slow
def test_three_at_a_time_are_three_processes_and_none_listens_to_the_network(tmp_path) -> None:
    """A port would let other users of the machine have code run."""
    me = psutil.Process()
    before = listened_to(me)  # the scheduler's of other tests
    seen = []

    def done(_: float) -> None:
        if len(list(tmp_path.glob("forever*/attempt1"))) >= 3:
            seen.extend(port for process in (me, *me.children(recursive=True)) for port in listened_to(process))
            raise Cancelled

    names = tuple(f"forever{number}" for number in range(5))
    with pytest.raises(Cancelled):
        list(run_on_this_machine(cases(tmp_path, *names), tmp_path, RegistrationSettings(), 3, done, program=STANDIN))
    assert set(seen) <= before
    assert len(list(tmp_path.glob("forever*/attempt1"))) == 3


def listened_to(process: psutil.Process) -> set[int]:
    """The ports on which a process and what it has started take connections."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended
            found |= {link.laddr.port for link in one.net_connections() if link.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.slow
def test_where_a_run_is_cancelled_its_processes_end_at_once_and_pairs_that_wait_never_begin(tmp_path) -> None:
    names = ("ann", "forever1", "forever2", "bob")
    heard = []

    def done(pairs: float) -> None:
        heard.append(pairs)
        if len(list(tmp_path.glob("forever*/attempt1"))) == 2:
            raise Cancelled

    began = time.monotonic()
    found = run_on_this_machine(cases(tmp_path, *names), tmp_path, RegistrationSettings(), 2, done, program=STANDIN)
    assert next(found)["name"] == "ann"
    with pytest.raises(Cancelled):
        list(found)
    assert time.monotonic() - began < 30
    assert max(heard) in (pytest.approx(1.5), pytest.approx(2.0))  # ann, and a half of one or of both in work
    processes = [int((tmp_path / name / "attempt1").read_text().split()[0]) for name in names[1:3]]
    assert not any(psutil.pid_exists(process) for process in processes)
    assert not (tmp_path / "bob").exists()


@pytest.mark.slow
def test_what_a_pair_has_begun_to_write_is_removed_where_the_run_is_cancelled(tmp_path) -> None:
    def done(_: float) -> None:
        if list(tmp_path.glob("writing*/.partial-*")):
            raise Cancelled

    (tmp_path / "writing2").mkdir()
    (tmp_path / "writing2" / "notes.txt").write_text("somebody's own")
    given = (cases(tmp_path, "writing1", "writing2"), tmp_path, RegistrationSettings(), 1)
    for _ in range(2):
        with pytest.raises(Cancelled):
            list(run_on_this_machine(*given, done, program=STANDIN))
        given = (given[0][1:], *given[1:])
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {"writing2", "writing2/notes.txt"}


@pytest.mark.slow
def test_the_bar_never_goes_back_while_pairs_are_in_work(tmp_path, monkeypatch) -> None:
    really = local_workers.run_on_this_machine
    monkeypatch.setattr(local_workers, "run_on_this_machine", lambda *given: really(*given, program=STANDIN))
    heard = []
    names = [f"half{number}" for number in range(4)]
    (tmp_path / "out").mkdir()
    rows = run_batch(
        cases(tmp_path, *names), tmp_path / "out", RegistrationSettings(), lambda *told: heard.append(told), workers=2
    )
    assert len(rows) == 4
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert any(4 * fraction % 1 for fraction in fractions)  # parts of pairs count
    assert heard[-2:] == [(1.0, "4 done"), (1.0, "Done")]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n", "job/7/cpu.max": "300000 100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/job/7/cpu.cfs_quota_us": "400000\n", "cpu/job/7/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.max": "99900000 100000"}, 8),
        ({}, 8),
    ],
)
def test_no_more_cores_are_counted_than_a_job_or_a_container_has(tmp_path, monkeypatch, files, cores) -> None:
    monkeypatch.setattr(threads, "GROUPS", tmp_path)
    monkeypatch.setattr(threads, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "own").write_text("7:cpu,cpuacct:/job/7\n0::/job/7\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores() == cores


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
    pytest.importorskip("distributed")
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
                run_on_cluster(
                    cases(tmp_path, "ann"),
                    tmp_path,
                    RegistrationSettings(),
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

    def on_this_machine(cases, *_):
        for case in cases:
            given.append(case.name)
            yield {"name": case.name, "status": "failed", "message": "On a worker."}

    monkeypatch.setattr(local_workers, "run_on_this_machine", on_this_machine)
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
    assert heard[0] == (0.25, "1 done")
    run_batch([cases[0], cases[2]], tmp_path / "out", RegistrationSettings(), workers=2)
    run_batch([cases[0], cases[2]], tmp_path / "out", RegistrationSettings(preset="fast"), workers=2)
    assert given == ["bob", "dan", "ann", "cid"]


def test_what_a_worker_says_in_a_sentence_is_passed_on_as_it_is() -> None:
    """Such as that there is no place for temporary files."""
    sentence = "There is no place for temporary files (No space left on device); free some space and register again."
    assert _reason(RegistrationError(sentence)) == sentence
    assert _reason(MemoryError()) == NOT_ENOUGH_MEMORY
    assert _reason(KeyError("x")) == "The registration failed unexpectedly (KeyError: 'x')."


def test_without_dask_a_scheduler_is_refused_with_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RegistrationError, match="pip install distributed"):
        run_batch(cases(tmp_path, "ann"), tmp_path / "out", RegistrationSettings(), scheduler="tcp://node1:8786")

"""Whatever stops a file from being written ends in one sentence, and leaves no half of it under its final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.points import read_points
from ULAERegistrationLib.files.rescue import write_somewhere
from ULAERegistrationLib.files.transforms import read_transform, write_transform
from ULAERegistrationLib.files.volumes import read_volume, write_image
from ULAERegistrationLib.files.writing import (
    check_output_file,
    check_output_folder,
    check_room,
    partial_name,
    remove_stale,
    whole_folder_or_nothing,
    whole_or_nothing,
)
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.process.cases import read_cases

WRITERS = Path(__file__).with_name("write_on_a_full_disk.py")


@pytest.fixture
def image() -> sitk.Image:
    made = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32))
    made.SetOrigin((1.0, 2.0, 3.0))
    return made


def written_on_a_full_disk(folder: Path, *limit: str) -> dict[str, str]:
    """What every writer says where there is no room, by file."""
    command = [sys.executable, str(WRITERS), str(folder), *limit]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr  # ITK's libraries have printed lines of their own
    return json.loads(result.stdout)


def assert_all_said_and_nothing_left(said: dict[str, str], folder: Path) -> None:
    assert len(said) == 11
    for name, sentence in said.items():
        place = folder / name / ("steps/warped.nii.gz" if name == "result" else "")
        assert sentence.startswith(f"{place} could not be written ("), (name, sentence)
        assert sentence.endswith("choose another place."), (name, sentence)
        assert sentence.count("\n") == 0
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_name_of_as_many_bytes_as_a_disk_takes_is_written(tmp_path) -> None:
    file = tmp_path / f"{'脑' * 78}.nii.gz"  # 241 bytes
    with whole_or_nothing(file) as partial:
        partial.write_text("a volume")
    assert file.read_text() == "a volume"


def test_files_and_folders_that_one_process_writes_at_the_same_time_are_not_mixed(tmp_path) -> None:
    """Scans of two people have names with one ending."""
    names = [f"sub-{number}_space-ULAE_T1w.nii.gz" for number in ("01", "02")]
    with whole_or_nothing(tmp_path / names[0]) as first:
        first.write_text(names[0])
        with whole_or_nothing(tmp_path / names[1]) as second:
            second.write_text(names[1])
    with whole_folder_or_nothing(tmp_path) as first:
        (first / "first").write_text("first")
        with whole_folder_or_nothing(tmp_path) as second:
            (second / "second").write_text("second")
    expected = {name: name for name in (*names, "first", "second")}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == expected


def test_a_file_that_may_not_grow_is_refused_in_every_format(tmp_path) -> None:
    """ITK #1958; `ulimit -f`."""
    assert_all_said_and_nothing_left(written_on_a_full_disk(tmp_path, "limited"), tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_in_every_format(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let its root mount")
    try:
        assert_all_said_and_nothing_left(written_on_a_full_disk(disk), disk)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_as_long_as_what_is_free_has_room_and_one_of_a_byte_more_has_none(tmp_path, monkeypatch) -> None:
    def usage(folder: Path) -> SimpleNamespace:
        assert folder == tmp_path
        return SimpleNamespace(total=10**9, used=10**9 - 5000, free=5000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_room(tmp_path, 5000)
    with pytest.raises(OSError, match="No space left") as refused:
        check_room(tmp_path, 5001)
    assert refused.value.errno == errno.ENOSPC


def test_a_file_as_long_as_a_process_may_write_has_room_and_one_of_a_byte_more_has_none(tmp_path, monkeypatch) -> None:
    resource = pytest.importorskip("resource", reason="Windows limits no process so")
    limits = {resource.RLIMIT_FSIZE: (5000, resource.RLIM_INFINITY)}  # what holds now, and what it may be raised to
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    check_room(tmp_path, 5000)
    with pytest.raises(OSError, match="File too large") as refused:
        check_room(tmp_path, 5001)
    assert refused.value.errno == errno.EFBIG


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_what_is_not_what_was_written_is_noticed(tmp_path, image, monkeypatch, ending) -> None:
    """A disk that loses the end, or a slice, of a file without a word."""
    write = sitk.WriteImage

    def lose(written: sitk.Image, path: str, **options: bool) -> None:
        other = sitk.Image(written)
        other[:, :, -1] = 0
        write(other, path, **options)

    monkeypatch.setattr(sitk, "WriteImage", lose)
    with pytest.raises(RegistrationError, match="incomplete, so the disk may be full"):
        write_image(image, tmp_path / f"scan{ending}")
    assert list(tmp_path.iterdir()) == []


def test_a_transform_whose_end_is_lost_is_noticed(tmp_path, monkeypatch) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5, 4, 3))
    transform = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(values, isVector=True))
    write = sitk.WriteTransform

    def lose(written: sitk.Transform, path: str) -> None:
        values[-1] = 0
        write(sitk.DisplacementFieldTransform(sitk.GetImageFromArray(values, isVector=True)), path)

    write_transform(transform, tmp_path / "whole.h5")
    monkeypatch.setattr(sitk, "WriteTransform", lose)
    with pytest.raises(RegistrationError, match="incomplete, so the disk may be full"):
        write_transform(transform, tmp_path / "lost.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.h5"]


def test_a_result_finds_another_place_where_its_own_fails_and_says_it(tmp_path, image, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "closed").write_text("no folder")
    target = tmp_path / "closed" / "warped.nii.gz"
    place, sentence = write_somewhere(lambda path: write_image(image, path), target)
    assert place.parent.parent == tmp_path / "temporary"
    assert sitk.ReadImage(str(place)).GetSize() == image.GetSize()
    assert sentence.endswith(f"What was computed is in {place} instead.")
    assert "choose another" not in sentence
    assert write_somewhere(lambda path: write_image(image, path), tmp_path / "warped.nrrd")[1] == ""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path) -> None:
    machine = partial_name().rsplit("-", 2)[0]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = f"{machine}-{os.getppid()}"
    before = f"{machine}-{os.getpid()}-0a1b2c"  # of a killed process that had our number
    for name in (f"{machine}-{ended.pid}", before, living, f"{partial_name()}-own", ".partial-othermachine-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    (tmp_path / f"{machine}-{ended.pid}-scan.nii.gz").write_text("half")
    with whole_folder_or_nothing(tmp_path) as partial:
        (partial / "new").write_text("whole")
    remove_stale(tmp_path)
    kept = {living, f"{partial_name()}-own", ".partial-othermachine-1", "new"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_what_cannot_be_removed_of_a_killed_process_stops_no_other(tmp_path, monkeypatch) -> None:
    """It may belong to another user, in a folder of all."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"{partial_name().rsplit('-', 2)[0]}-{ended.pid}-scan.nii.gz"
    left.write_text("half")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with whole_or_nothing(tmp_path / "new.txt") as partial:
        partial.write_text("whole")
    assert (tmp_path / "new.txt").read_text() == "whole"
    assert left.exists()


def test_of_two_results_for_one_new_folder_the_one_that_fails_takes_nothing_of_the_other(tmp_path) -> None:
    def fail() -> None:
        with whole_folder_or_nothing(tmp_path / "result") as partial:
            (partial / "steps").mkdir()
            with_other = partial.with_name(f"{partial.name}-other")  # as another process has it
            with_other.mkdir()
            (with_other / "warped.nii.gz").write_text("the other's")
            with_other.joinpath("warped.nii.gz").replace(tmp_path / "result" / "warped.nii.gz")
            with_other.rmdir()
            raise OSError("disk is full")

    with pytest.raises(RegistrationError, match="disk is full"):
        fail()
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["warped.nii.gz"]


def test_a_new_folder_whose_last_file_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    replace = Path.replace

    def fail_at_the_last(path: Path, target: Path) -> None:
        if path.name == "quality.json":
            raise OSError("disk is full")
        replace(path, target)

    def write() -> None:
        with whole_folder_or_nothing(tmp_path / "result") as partial:
            (partial / "steps").mkdir()
            for name in ("steps/phi1.h5", "warped.nii.gz", "quality.json"):
                (partial / name).write_text("1")

    monkeypatch.setattr(Path, "replace", fail_at_the_last)
    with pytest.raises(RegistrationError, match="disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write()
    assert {path.name for path in (tmp_path / "result").iterdir()} == {"steps", "warped.nii.gz", "quality.json"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_process_waits_until_another_has_moved_its_files(tmp_path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ULAERegistrationLib.files.writing import _moving_alone\n"
        "with _moving_alone(Path(sys.argv[1])):\n"
        "    print('moving', flush=True); time.sleep(0.5); (Path(sys.argv[1]) / 'last').write_text('theirs')"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "moving\n"
        with whole_folder_or_nothing(tmp_path) as partial:
            (partial / "last").write_text("ours")
    assert (tmp_path / "last").read_text() == "ours"


def test_a_folder_on_another_disk_takes_a_result(tmp_path) -> None:
    """moby #19309: a link to another disk, or a mount point."""
    other = Path("/dev/shm")
    if not other.is_dir() or os.stat(other).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("this machine has no second disk at /dev/shm")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        (tmp_path / "link").symlink_to(folder)
        check_output_folder(tmp_path / "link")
        with whole_folder_or_nothing(tmp_path / "link") as partial:
            (partial / "steps").mkdir()
            (partial / "steps" / "phi1.h5").write_text("1")
        with whole_or_nothing(tmp_path / "link" / "file") as partial:
            partial.write_text("2")
        assert sorted(path.name for path in Path(folder).iterdir()) == ["file", "steps"]


@pytest.fixture
def unprivileged(tmp_path):
    """Places as somebody sees them who is not root."""
    if os.name == "nt" or os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder).startswith(tempfile.gettempdir() + os.sep):
            folder.chmod(0o755)
    os.chown(tmp_path, 65534, 65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders are POSIX's")
def test_the_only_writable_place_is_enough_and_a_closed_one_is_refused_beforehand(tmp_path, unprivileged) -> None:
    (tmp_path / "closed" / "open").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o555)
    try:
        check_output_folder(tmp_path / "closed" / "open")
        with whole_folder_or_nothing(tmp_path / "closed" / "open") as partial:
            (partial / "warped.nii.gz").write_text("1")
        assert [path.name for path in (tmp_path / "closed" / "open").iterdir()] == ["warped.nii.gz"]
        for place in (tmp_path / "closed", tmp_path / "closed" / "new"):
            with pytest.raises(RegistrationError, match=r"permission denied.*choose another folder"):
                check_output_folder(place)
        with pytest.raises(RegistrationError, match="permission denied"):
            check_output_file(tmp_path / "closed" / "scan.nii.gz")
    finally:
        (tmp_path / "closed").chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders are POSIX's")
@pytest.mark.parametrize(
    "ask",
    [
        lambda folder: read_volume(folder / "scan.nii.gz", "fixed"),
        lambda folder: read_volume(folder, "fixed"),
        lambda folder: read_transform(folder / "t.h5"),
        lambda folder: read_points(folder / "points.csv"),
        lambda folder: load_network(folder / "own.safetensors"),
        lambda folder: check_output_file(folder / "scan.nii.gz"),
        lambda folder: check_output_folder(folder / "new"),
        lambda folder: read_cases(folder / "cohort.csv"),
    ],
    ids=["a scan", "a series", "a transform", "points", "weights", "an output", "a folder", "a table"],
)
def test_a_folder_that_may_not_be_entered_is_a_sentence_wherever_a_path_is_asked_for(
    tmp_path, unprivileged, ask
) -> None:
    """OpenNeuro #79: `Path.is_file` raises there."""
    (tmp_path / "closed").mkdir(mode=0o000)
    try:
        with pytest.raises(RegistrationError, match=r"(?i)permission denied"):
            ask(tmp_path / "closed")
    finally:
        (tmp_path / "closed").chmod(0o755)

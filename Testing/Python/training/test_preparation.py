"""Scans of one's own become brains to train on, placed as a registration places them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry import brain_search
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.simulation import paint_head
from ULAERegistrationLib.training import preparation
from ULAERegistrationLib.training.data import pack
from ULAERegistrationLib.training.preparation import prepare

BLOCK_MM = 25  # side of the made-up labels
FIRST_LABEL = 1001  # as FreeSurfer numbers the cortex


def values_of(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def template_labels() -> sitk.Image:
    """Blocks of the template's brain."""
    blocks = np.indices(template().GetSize()[::-1]) // BLOCK_MM
    numbers = FIRST_LABEL + blocks[0] * 100 + blocks[1] * 10 + blocks[2]
    labels = sitk.GetImageFromArray((numbers * (sitk.GetArrayViewFromImage(template_mask()) > 0)).astype(np.int16))
    labels.CopyInformation(template())
    return labels


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def scans(simulated_pair, tmp_path_factory) -> Path:
    """A painted head and a stripped brain, oblique and left-handed, of one person; a T2; and what is no scan.

    Head and brain have coarse voxels, to be quick.
    """
    folder = tmp_path_factory.mktemp("scans")
    pair = simulated_pair
    head, brain = (sitk.BinShrink(image, [2, 2, 2]) for image in (paint_head(pair), pair.subject))
    labels = resample(template_labels(), brain, pair.truth, labels=True)
    sitk.WriteImage(head, str(folder / "ann_t1.nrrd"))
    sitk.WriteImage(brain, str(folder / "bob_t1.mha"))
    sitk.WriteImage(labels, str(folder / "bob_seg.nii.gz"))
    average = sitk.GetArrayViewFromImage(template())
    t2 = sitk.GetImageFromArray(np.where(average > 12, 268 - average.astype(int), 0).clip(0, 255).astype(np.uint8))
    t2.CopyInformation(template())
    sitk.WriteImage(t2, str(folder / "cid_t1.nii"))
    (folder / "dan_t1.nii.gz").write_text("no scan")
    sitk.WriteImage(labels, str(folder / "eve_seg.nii.gz"))
    (folder / "notes_t1.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory) -> tuple[Path, dict[str, preparation.Prepared]]:
    """The folder of the brains, and how it went by person."""
    brains = tmp_path_factory.mktemp("prepared") / "brains"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_search, "TILTS", (0.0,))  # one start of the search, as with `upright`
        return brains, {outcome.person: outcome for outcome in prepare(scans, brains)}


@pytest.mark.slow
def test_a_head_and_a_brain_lie_where_the_template_lies_and_can_be_packed(prepared, tmp_path):
    brains, outcomes = prepared
    assert {outcomes[person].status for person in ("ann", "bob")} == {"prepared"}
    inside = sitk.GetArrayViewFromImage(template_mask())
    for person in ("ann", "bob"):
        image = sitk.ReadImage(str(brains / f"{person}_t1.nii.gz"))
        assert image.GetPixelID() == sitk.sitkUInt8
        values = sitk.GetArrayViewFromImage(image)
        assert dice((values > 0).astype(int), inside.astype(int))[1] > 0.93
        assert np.corrcoef(values[inside > 0], sitk.GetArrayViewFromImage(template())[inside > 0])[0, 1] > 0.8
        assert 250 < np.percentile(values[values > 0], 99.9) <= 255
    for part in ("t1", "seg"):
        shutil.copy(brains / f"bob_{part}.nii.gz", tmp_path)
    counts = pack(tmp_path, tmp_path / "brains.npz")
    assert (counts["people"], counts["labelled"]) == (1, 1)


@pytest.mark.slow
def test_labels_are_carried_with_the_scan(prepared):
    """The subject is bent by 4 mm, which an affine map leaves."""
    brains, outcomes = prepared
    labels, expected = values_of(brains / "bob_seg.nii.gz"), sitk.GetArrayFromImage(template_labels())
    assert set(np.unique(labels)) <= {0, *np.unique(expected)}
    scores = dice(labels, expected)
    large = [score for label, score in scores.items() if (expected == label).sum() > BLOCK_MM**3 / 2]
    assert np.mean(large) > 0.7
    assert outcomes["bob"].labels > 100
    assert not (brains / "ann_seg.nii.gz").exists()


@pytest.mark.slow
def test_what_is_no_t1_is_said(prepared):
    _, outcomes = prepared
    assert outcomes["bob"].doubts == ()
    assert preparation.OTHER_CONTRAST in outcomes["cid"].doubts


@pytest.mark.slow
def test_who_fails_is_said_in_a_sentence_and_stops_nobody(prepared):
    brains, outcomes = prepared
    assert [person for person, outcome in outcomes.items() if outcome.status == "failed"] == ["dan", "eve"]
    assert "is not a volume that is read here" in outcomes["dan"].line()
    assert outcomes["eve"].line() == (
        "eve: failed. There is no eve_t1 beside eve_seg.nii.gz; give the scan, or rename the file."
    )
    expected = {"ann_t1.nii.gz", "bob_seg.nii.gz", "bob_t1.nii.gz", "cid_t1.nii.gz", "prepared.json", "prepared.png"}
    assert set(contents(brains)) == expected


@pytest.mark.slow
def test_one_picture_shows_all_brains(prepared):
    brains, _ = prepared
    pixels = values_of(brains / "prepared.png")
    rows, columns = pixels.shape[:2]
    assert rows > 2 * 182
    assert columns > 400
    assert pixels.std() > 20


@pytest.fixture
def quick(monkeypatch) -> list[str]:
    """Instead of aligning, take the scan as it lies; gives a word for each time that this was asked for."""
    placed: list[str] = []

    def place_alone(scan: sitk.Image, mask: sitk.Image | None) -> tuple[np.ndarray, sitk.AffineTransform]:
        placed.append("placed")
        values = sitk.GetArrayFromImage(scan).transpose(2, 1, 0).astype(np.float32)
        return values / values.max(), sitk.AffineTransform(3)

    monkeypatch.setattr(preparation, "place_alone", place_alone)
    return placed


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A folder with one person's scan and labels, and another for the brains."""
    scans = tmp_path / "scans"
    scans.mkdir()
    sitk.WriteImage(template(), str(scans / "ann_t1.nii.gz"))
    sitk.WriteImage(template_labels(), str(scans / "ann_seg.nii.gz"))
    return scans, tmp_path / "brains"


def test_who_is_finished_is_done_again_only_where_a_file_has_changed(folders, quick):
    scans, brains = folders
    statuses = [prepare(scans, brains)[0].status, prepare(scans, brains)[0].status]
    assert statuses == ["prepared", "as before"]
    assert len(quick) == 1
    sitk.WriteImage(template_mask(), str(scans / "ann_mask.nrrd"))  # drawn after a look at the picture
    assert prepare(scans, brains)[0].status == "prepared"
    assert (brains / "ann_seg.nii.gz").exists()
    (scans / "ann_seg.nii.gz").unlink()
    assert prepare(scans, brains)[0].status == "prepared"
    assert not (brains / "ann_seg.nii.gz").exists()
    (brains / "ann_t1.nii.gz").unlink()
    assert prepare(scans, brains)[0].status == "prepared"


def test_the_brain_of_a_scan_that_has_become_useless_is_not_kept(folders, quick):
    scans, brains = folders
    prepare(scans, brains)
    (scans / "ann_t1.nii.gz").write_text("no scan")
    assert prepare(scans, brains)[0].status == "failed"
    assert not list(brains.glob("*.nii.gz"))
    assert json.loads((brains / "prepared.json").read_text())["people"] == {}


@pytest.mark.parametrize("how", [KeyboardInterrupt, RegistrationError("The disk is full."), RuntimeError("odd")])
def test_nothing_half_written_stays(folders, quick, monkeypatch, how, capsys):
    scans, brains = folders
    written = preparation.write_image

    def write(image: sitk.Image, path: Path) -> None:
        if path.name.endswith("_seg.nii.gz"):
            raise how
        written(image, path)

    monkeypatch.setattr(preparation, "write_image", write)
    assert main(["train", "--prepare", str(scans), "-o", str(brains)]) == 1
    assert not brains.exists()
    if how is KeyboardInterrupt:
        assert capsys.readouterr().err == (
            "ulae: cancelled; what was finished is kept, and the same call goes on from there\n"
        )


@pytest.mark.parametrize("step", ["the record", "the files"])
def test_who_was_interrupted_while_the_files_were_put_into_place_is_done_again(folders, quick, monkeypatch, step):
    """The first time, and after a mask was drawn."""
    scans, brains = folders
    replaced = Path.replace

    def interrupt(*arguments) -> None:
        raise KeyboardInterrupt

    def replace_labels_alone(source: Path, target: Path) -> Path:
        return interrupt() if target == brains / "ann_t1.nii.gz" else replaced(source, target)

    for again in (False, True):
        if again:
            sitk.WriteImage(template_mask(), str(scans / "ann_mask.nrrd"))
        with monkeypatch.context() as patch:
            if step == "the record":
                patch.setattr(preparation, "_write_record", interrupt)
            else:
                patch.setattr(Path, "replace", replace_labels_alone)
            with pytest.raises(KeyboardInterrupt):
                prepare(scans, brains)
        assert prepare(scans, brains)[0].status == "prepared"
        assert prepare(scans, brains)[0].status == "as before"


def test_who_was_killed_while_the_files_were_put_into_place_is_done_again(folders, quick, monkeypatch, tmp_path):
    """What the killed process had noted of its files was taken for the result of a registration, at every call."""
    scans, brains = folders
    left = tmp_path / "left"
    replaced = Path.replace

    def copy_what_a_kill_leaves(source: Path, target: Path) -> Path:
        replaced(source, target)
        if target.parent == brains and target.suffix == ".gz" and not left.exists():
            shutil.copytree(brains, left)
        return target

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", copy_what_a_kill_leaves)
        prepare(scans, brains)
    assert len(list(left.glob("ann_*"))) == 1
    assert list(left.glob(".*"))
    assert prepare(scans, left)[0].status == "prepared"
    assert prepare(scans, left)[0].status == "as before"


def test_what_a_kill_after_the_last_move_has_noted_is_not_lost_to_the_next_person(folders, quick):
    scans, brains = folders
    prepare(scans, brains)
    files = sorted(file.name for file in brains.glob("ann_*"))
    (brains / ".moving.json").write_text(json.dumps({"files": files}))
    for part in ("t1", "seg"):
        shutil.copy(scans / f"ann_{part}.nii.gz", scans / f"bob_{part}.nii.gz")
    assert [outcome.status for outcome in prepare(scans, brains)] == ["as before", "prepared"]
    assert sorted(file.name for file in brains.glob("ann_*")) == files


def test_the_command_says_how_each_went_and_where_to_look(folders, quick, capsys):
    scans, brains = folders
    command = ["train", "--prepare", str(scans), "-o", str(brains)]
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("ann: prepared, brain of ")
    assert said[1:] == [f"see whether all brains lie right: {brains / 'prepared.png'}"]
    sitk.WriteImage(template(), str(scans / "bob_t1.nii.gz"))
    sitk.WriteImage(template(), str(scans / "bob_t1.nrrd"))
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1] == "bob: failed. bob_t1.nii.gz and bob_t1.nrrd are called the same; keep one of them."
    assert err == "ulae: 1 of 2 people failed (bob); mend their files and call it again.\n"


def test_labels_that_cannot_be_packed_are_refused_before_anything_is_computed(folders, quick):
    scans, brains = folders
    sitk.WriteImage(sitk.Cast(template_labels(), sitk.sitkInt32) * 100, str(scans / "ann_seg.nii.gz"))
    (outcome,) = prepare(scans, brains)
    assert outcome.status == "failed"
    assert "The T1 label map holds numbers from 0 to" in outcome.line()
    assert quick == []


def test_scans_are_not_overwritten(folders, capsys):
    scans, _ = folders
    before = contents(scans)
    assert main(["train", "--prepare", str(scans), "-o", str(scans)]) == 1
    assert "holds the scans themselves; write the brains to another folder" in capsys.readouterr().err
    linked = scans.parent / "linked"
    linked.mkdir()
    (linked / "ann_t1.nii.gz").symlink_to(scans / "ann_t1.nii.gz")
    assert main(["train", "--prepare", str(linked), "-o", str(scans)]) == 1
    assert contents(scans) == before


def test_endings_in_capitals_are_read_and_hidden_files_are_not(folders, quick):
    scans, brains = folders
    for part in ("t1", "seg"):
        (scans / f"ann_{part}.nii.gz").rename(scans / f"ann_{part}.NII.GZ")
    (scans / "._ann_t1.nii.gz").write_text("what macOS puts beside a file")
    (ann,) = prepare(scans, brains)
    assert (ann.person, ann.status, ann.labels > 100) == ("ann", "prepared", True)


def test_scans_are_known_by_names_in_capitals_and_by_those_of_bids(folders, quick):
    scans, brains = folders
    (scans / "ann_t1.nii.gz").rename(scans / "ann_T1w.nii.gz")
    (scans / "ann_seg.nii.gz").rename(scans / "ann_SEG.nii.gz")
    (ann,) = prepare(scans, brains)
    assert (ann.person, ann.status, ann.labels > 100) == ("ann", "prepared", True)
    assert {path.name for path in brains.glob("ann*")} == {"ann_t1.nii.gz", "ann_seg.nii.gz"}


def test_images_that_are_called_otherwise_are_passed_over_and_named(folders, quick, capsys):
    scans, brains = folders
    sitk.WriteImage(template(), str(scans / "bob.nii.gz"))
    (scans / "notes.txt").write_text("no image")
    assert main(["train", "--prepare", str(scans), "-o", str(brains)]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == "bob.nii.gz: passed over, because its name ends in none of _t1, _seg and _mask"
    assert second.startswith("ann: prepared")


def test_brains_and_labels_of_another_origin_are_not_replaced(folders, quick):
    scans, brains = folders
    (scans / "ann_seg.nii.gz").unlink()
    prepare(scans, brains)
    sitk.WriteImage(template_labels(), str(brains / "ann_seg.nii.gz"))  # drawn on the prepared brain
    assert prepare(scans, brains)[0].status == "as before"
    sitk.WriteImage(template_mask(), str(scans / "ann_mask.nrrd"))
    sitk.WriteImage(template(), str(scans / "bob_t1.nii.gz"))
    sitk.WriteImage(template(), str(brains / "bob_t1.nii.gz"))
    before = contents(brains)
    ann, bob = prepare(scans, brains)
    assert ann.line() == (
        f"ann: failed. {brains} has ann_seg.nii.gz of another origin, or changed since; move that away, or write the "
        f"brains to another folder."
    )
    assert "has bob_t1.nii.gz of another origin" in bob.line()
    assert contents(brains) == before


def test_labels_that_were_corrected_among_the_brains_are_not_replaced(folders, quick):
    scans, brains = folders
    prepare(scans, brains)
    sitk.WriteImage(template_labels() + 1, str(brains / "ann_seg.nii.gz"))
    before = contents(brains)
    assert prepare(scans, brains)[0].status == "as before"
    for change in (lambda file: sitk.WriteImage(template_mask(), file), lambda file: Path(file).write_text("no mask")):
        change(str(scans / "ann_mask.nrrd"))
        assert "has ann_seg.nii.gz of another origin, or changed since" in prepare(scans, brains)[0].line()
        assert contents(brains) == before


@pytest.mark.parametrize("damage", ["no image", "another grid"])
def test_a_brain_that_was_damaged_is_said_and_the_others_are_drawn(folders, quick, damage):
    scans, brains = folders
    sitk.WriteImage(template(), str(scans / "bob_t1.nii.gz"))
    prepare(scans, brains)
    (brains / "ann_t1.nii.gz").write_text(damage)
    if damage == "another grid":
        sitk.WriteImage(sitk.Image(20, 20, 20, sitk.sitkUInt8), str(brains / "ann_t1.nii.gz"))
    drawn = (brains / "prepared.png").read_bytes()
    ann, bob = prepare(scans, brains)
    assert ann.line().startswith(f"ann: failed. {brains} has ann_t1.nii.gz of another origin, or changed since")
    assert bob.status == "as before"
    assert (brains / "prepared.png").read_bytes() != drawn


def test_the_result_of_a_registration_is_not_replaced(folders, quick):
    scans, brains = folders
    brains.mkdir()
    (brains / "registered.nii.gz").write_text("a result")
    (brains / "made_from.json").write_text('{"files": ["registered.nii.gz", "made_from.json"]}')
    before = contents(brains)
    with pytest.raises(RegistrationError, match="holds the result of a registration"):
        prepare(scans, brains)
    assert contents(brains) == before


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_scans_is_refused(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    assert main(["train", "--prepare", str(tmp_path / name), "-o", str(tmp_path / "brains")]) == 1
    assert "name them <person>_t1.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "brains").exists()

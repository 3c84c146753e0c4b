"""The folder of a saved result holds what the read me names and no more; single files hold what the function gives."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import Registration, __version__
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.flows.warp import compose_all
from ULAERegistrationLib.output.report import Pictures
from ULAERegistrationLib.tensors import array_of, tensor_of


def read_array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture(scope="module")
def registration(quick_registration) -> Registration:
    return quick_registration


@pytest.fixture(scope="module")
def saved(registration, tmp_path_factory):
    """The saved result, in the folder of an earlier one that had a mask."""
    folder = tmp_path_factory.mktemp("saved") / "result"
    folder.mkdir()
    (folder / "fixed_brain.nii.gz").write_text("of an earlier result")
    (folder / "quality.json").write_text('{"files": ["fixed_brain.nii.gz", "quality.json"]}')
    registration.save(folder, warped_labels=sitk.Image(9, 9, 9, sitk.sitkUInt8))
    return folder


def test_a_saved_result_holds_everything_and_leaves_nothing_else(saved):
    written = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {"transform.h5", "warped.nii.gz", "quality.json", "report.html", "steps/phi2.h5"} <= written
    assert {"warped_labels.nii.gz", *(f"steps/warped{n}.nii.gz" for n in range(4))} <= written
    assert set(json.loads((saved / "quality.json").read_text())["files"]) == written
    assert "fixed_brain.nii.gz" not in written
    assert [path.name for path in saved.parent.iterdir()] == ["result"]


def test_a_saved_result_holds_every_file_that_the_read_me_names(saved):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text.partition("| in `result/` |")[2].partition("\n\n")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(.+?)`", row)}
    assert {"transform.h5", "report.html", "figures/"} <= named
    absent = {name for name in named if not (saved / name).exists()}
    assert absent == {"fixed_brain.nii.gz", "moving_brain.nii.gz"}  # these scans show the brain alone


def test_the_report_lists_the_files_beside_it(saved):
    listed = (saved / "report.html").read_text(encoding="utf-8").partition("Files beside this report")[2]
    for name in ("transform.h5", "warped.nii.gz", "warped_labels.nii.gz", "steps", "figures", "quality.json"):
        assert f">{name}<" in listed.partition("</table>")[0]
    assert "fixed_brain" not in listed


def test_the_saved_quality_has_the_verdict_and_what_the_registration_ran_with(saved, registration):
    quality = json.loads((saved / "quality.json").read_text())
    assert quality["verdict"] == registration.quality.verdict
    assert quality["inverse_mean_mm"] < 0.2
    provenance = quality["provenance"]
    assert (provenance["device"], provenance["precision"]) == ("cpu", "float32")
    assert provenance["settings"]["preset"] == "fast"
    assert provenance["versions"]["ULAERegistration"] == __version__
    assert provenance["weights_sha256"] == registration.card.details["sha256"]
    assert "float32" in (saved / "report.html").read_text(encoding="utf-8")


def test_labels_are_saved_with_the_result_and_both_masks_beside_it(tmp_path, shifted, registration, monkeypatch):
    """The scans of the pair are stripped: their masks are what they show."""
    monkeypatch.setattr("ULAERegistrationLib.registration.register", lambda *given, **named: registration)
    saved = []
    monkeypatch.setattr(Registration, "save", lambda self, folder, warped_labels: saved.append(warped_labels))
    command = ["register", shifted.fixed, shifted.moving, "-o", tmp_path / "result", "--quiet"]
    command += ["--save-masks", tmp_path / "masks"]
    assert main([str(a) for a in [*command, "--moving-labels", shifted.moving_labels]]) == 0
    assert main([str(a) for a in command]) == 0
    own_place = ["--moving-labels", shifted.moving_labels, "--warped-labels", tmp_path / "labels.nrrd"]
    assert main([str(a) for a in [*command, *own_place]]) == 0
    assert [image and image.GetSize() for image in saved] == [registration.fixed.GetSize(), None, None]
    for role in ("fixed", "moving"):
        mask = sitk.ReadImage(str(tmp_path / "masks" / f"{role}_brain.nii.gz"))
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(mask, sitk.ReadImage(str(getattr(shifted, f"{role}_labels"))) > 0)
        assert overlap.GetDiceCoefficient() > 0.9


def test_the_command_gives_the_same_bytes_as_the_function_and_labels_come_along(
    registration, quick_settings, shifted, tmp_path, capsys
):
    arguments = ["register", shifted.fixed, shifted.moving, "--json"]
    arguments += [word for name, value in quick_settings.items() for word in (f"--{name}", value)]
    arguments += ["--warped", tmp_path / "w.nii.gz", "--transform", tmp_path / "t.nii.gz"]
    arguments += ["--moving-labels", shifted.moving_labels, "--warped-labels", tmp_path / "l.nii.gz"]
    arguments += ["--fixed-labels", shifted.fixed_labels]
    assert main([str(a) for a in arguments]) == 0
    measures = json.loads(capsys.readouterr().out)
    assert measures["dice_after"] > measures["dice_before"] + 0.08
    by_label = measures["dice_after_by_label"]
    assert measures["dice_after"] == pytest.approx(sum(by_label.values()) / len(by_label))
    assert {path.name for path in tmp_path.iterdir()} == {"w.nii.gz", "t.nii.gz", "l.nii.gz"}
    assert np.array_equal(read_array(tmp_path / "w.nii.gz"), sitk.GetArrayViewFromImage(registration.warped))
    field = sitk.GetArrayFromImage(registration.displacement_field())
    assert np.array_equal(read_array(tmp_path / "t.nii.gz"), field)

    applied = ["apply", tmp_path / "t.nii.gz", shifted.moving_labels, "--labels"]
    applied += ["--like", shifted.fixed, "-o", tmp_path / "again.nii.gz"]
    assert main([str(a) for a in applied]) == 0
    again, labels = (read_array(tmp_path / name) for name in ("again.nii.gz", "l.nii.gz"))
    assert (again == labels).mean() > 0.9999


def test_every_saved_volume_and_transform_is_what_its_name_says(saved, registration):
    seen = {"warped": registration.warped, "steps/warped0": registration.aligned}
    seen |= {f"steps/warped{number}": step.warped for number, step in enumerate(registration.steps, 1)}
    for name, image in seen.items():
        assert np.array_equal(read_array(saved / f"{name}.nii.gz"), sitk.GetArrayViewFromImage(image)), name
    middle = registration.fixed.TransformContinuousIndexToPhysicalPoint([n / 2 for n in registration.fixed.GetSize()])
    kept = {"transform.h5": registration.transform}
    kept |= {f"steps/{step.name}.h5": step.coarse_transform for step in registration.steps}
    for name, transform in kept.items():
        there = sitk.ReadTransform(str(saved / name)).TransformPoint(middle)
        assert there == pytest.approx(transform.TransformPoint(middle), abs=1e-3), name


def test_the_pictures_show_each_step_with_those_before_it(registration):
    view = registration.view()
    for number, total in enumerate(view.totals, 1):
        composed = compose_all([tensor_of(flow)[None] for flow in view.steps[:number]])
        np.testing.assert_allclose(total, array_of(composed[0]), atol=1e-5)
    assert not np.array_equal(view.totals[1], view.steps[1])
    np.testing.assert_array_equal(view.flow, registration.flow)


@pytest.fixture
def of_two_heads(registration):
    """The registration as it is where both brains were found, each scan's mask of another number of voxels."""
    masks = []
    for image, voxels in ((registration.fixed, 3), (registration.moving, 5)):
        mask = sitk.Image(image.GetSize(), sitk.sitkUInt8)
        mask.CopyInformation(image)
        mask[:voxels, 0, 0] = 1
        masks.append(mask)
    return dataclasses.replace(registration, fixed_mask=masks[0], moving_mask=masks[1])


def test_each_brain_mask_is_written_under_its_scans_name(of_two_heads, shifted, tmp_path, monkeypatch):
    monkeypatch.setattr("ULAERegistrationLib.result.draw_pictures", lambda view: Pictures([], ""))
    of_two_heads.save(tmp_path / "result")
    monkeypatch.setattr("ULAERegistrationLib.registration.register", lambda *given, **named: of_two_heads)
    command = ["register", shifted.fixed, shifted.moving, "--save-masks", tmp_path / "masks", "--quiet"]
    assert main([str(word) for word in command]) == 0
    for folder in ("result", "masks"):
        voxels = [read_array(tmp_path / folder / f"{role}_brain.nii.gz").sum() for role in ("fixed", "moving")]
        assert voxels == [3, 5], folder


def test_what_is_given_beside_the_scans_reaches_the_registration(registration, shifted, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "ULAERegistrationLib.registration.register", lambda *scans, **named: asked.update(named) or registration
    )
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "start.tfm"))
    command = ["register", shifted.fixed, shifted.moving, "--warped", tmp_path / "w.nrrd", "--quiet"]
    command += ["--fixed-mask", shifted.fixed_labels, "--moving-mask", shifted.moving_labels]
    assert main([str(word) for word in [*command, "--initial-transform", tmp_path / "start.tfm"]]) == 0
    for role in ("fixed", "moving"):
        scan = sitk.ReadImage(str(getattr(shifted, role)))
        assert asked[f"{role}_mask"].GetOrigin() == pytest.approx(scan.GetOrigin())
    assert asked["initial_transform"].TransformPoint((0.0, 0.0, 0.0)) == (1, 2, 3)

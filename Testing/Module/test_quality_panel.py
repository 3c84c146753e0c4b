"""The Quality section after a registration, and what it puts into the scene."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from standin import pythonqt, qmrml
from standin.clicking import behave, click, finish
from standin.worker import QUALITY, known_map

from ULAERegistrationLib.mrml.volumes import set_volume


def test_the_table_shows_the_measures_and_the_verdict_in_words(done):
    table = done.ui.qualityTable
    rows = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert rows["Similarity (local NCC), before / after"] == "0.250 / 0.550"
    assert rows["Folded, whole grid / brain"] == "0.010 % / 0.030 %"
    assert rows["Displacement, mean / largest"] == "2.5 / 9.0 mm"
    assert "Good" in done.ui.verdictLabel.text
    assert QUALITY["reasons"][0] in done.ui.verdictLabel.text


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours such as "#323232", as WCAG 2 defines it."""
    values = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (one, other)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light, dark = sorted(linear @ [0.2126, 0.7152, 0.0722], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("window", ["#ffffff", "#efefef", "#323232"])  # Slicer's two styles, and a system's own
@pytest.mark.parametrize("verdict", ["good", "look at it", "do not use"])
def test_every_verdict_can_be_read_on_a_light_and_on_a_dark_panel(panel, scene, window, verdict):
    from ULAERegistrationParts.outputs import QUALITY as ATTRIBUTE

    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "result")
    node.SetAttribute(ATTRIBUTE, json.dumps({**QUALITY, "verdict": verdict}))
    label = panel.ui.verdictLabel
    before = label.palette
    label.palette = qt.QPalette(qt.QColor(window))
    panel.ui.outputTransformSelector.setCurrentNode(node)
    label.palette = before
    assert contrast(re.search(r"color:(#\w{6})", label.text)[1], window) >= 4.5


@pytest.fixture
def one_person(panel, pair, app):
    """A finished registration of two scans that look like one person's."""
    behave(panel, "go", "nowhere", "one person")
    click(panel)
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    assert not panel.ui.shapeButton.isHidden()
    assert panel.ui.shapeButton.enabled
    return run


def test_the_shape_of_one_persons_brain_is_registered_too_by_a_click_and_that_of_the_next_pair_is_not(
    panel, one_person, app
):
    panel.ui.shapeButton.click()
    assert not panel.ui.shapeButton.enabled  # while it runs
    second = finish(panel, app)
    assert second is not one_person
    assert second.state == "done", second.error + second.log
    assert second.transformNode is one_person.transformNode
    assert panel.ui.shapeButton.isHidden()
    assert panel.ui.alignmentComboBox.currentText == "auto"
    click(panel)
    assert finish(panel, app).state == "done"
    assert not panel.ui.shapeButton.isHidden()


@pytest.mark.parametrize("why", ["other volumes", "a deleted volume", "no licence", "no PyTorch"])
def test_no_registration_begins_below_the_verdict_that_the_large_button_would_not_begin(
    panel, one_person, pair, scene, monkeypatch, why
):
    ui = panel.ui
    if why == "other volumes":
        ui.swapButton.click()
    elif why == "a deleted volume":
        scene.RemoveNode(pair[0])
    elif why == "no licence":
        ui.licenceCheckBox.click()
    else:
        from ULAERegistrationParts import dependencies

        monkeypatch.setattr(dependencies, "missing", lambda: ["PyTorch"])
        panel.registerPanel.update()
    assert not ui.shapeButton.enabled


def test_a_registration_of_the_shape_is_offered_beside_the_rigid_result_it_is_for(panel, one_person):
    panel.ui.outputTransformSelector.setCurrentNode(None)
    assert panel.ui.shapeButton.isHidden()
    panel.ui.outputTransformSelector.setCurrentNode(one_person.transformNode)
    assert not panel.ui.shapeButton.isHidden()


def test_nothing_more_is_offered_for_two_peoples_scans(done):
    assert done.ui.shapeButton.isHidden()


def test_the_jacobian_map_is_shown_in_a_diverging_table(done):
    done.ui.jacobianButton.click()
    node = slicer.mrmlScene.GetNodeByID(done.views[0].GetForegroundVolumeID())
    table, colour = node.GetDisplayNode().GetColorNode(), [0.0] * 4
    table.GetColor(128, colour)
    assert min(colour[:3]) > 0.95  # a determinant of 1 is white
    table.GetColor(0, colour)
    assert tuple(colour[:3]) == (1.0, 0.0, 1.0)  # 0 and less is magenta
    assert (node.GetDisplayNode().GetWindowLevelMin(), node.GetDisplayNode().GetWindowLevelMax()) == (0, 2)
    assert slicer.modules.colors.logic().GetColorLegendDisplayNode(node).GetTitleText() == "Jacobian"
    done.ui.jacobianButton.click()
    assert node.GetNumberOfDisplayNodes() == 2  # itself and one legend


@pytest.mark.parametrize("kind", ["label maps", "segmentations"])
def test_dice_of_two_segmentations_is_that_of_simpleitk(done, scene, images, panel, kind):
    both = [
        sitk.Cast(images[0] > low, sitk.sitkUInt8) + sitk.Cast(images[0] > high, sitk.sitkUInt8)
        for low, high in ((30, 90), (60, 120))
    ]
    for labels, selector in zip(both, (done.ui.diceFixedSelector, done.ui.diceWarpedSelector), strict=True):
        node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        set_volume(node, labels)
        if kind == "segmentations":
            segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
            slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(node, segments)
            node = segments
        selector.setCurrentNode(node)
    done.ui.diceButton.click()
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*both)
    expected = [overlap.GetDiceCoefficient(label) for label in (1, 2)]
    table = done.ui.qualityTable
    assert table.item(0, 0).text() == "Dice, mean of 2 labels"
    assert float(table.item(0, 1).text()) == pytest.approx(np.mean(expected), abs=6e-4)
    assert [float(table.item(row, 1).text()) for row in (1, 2)] == pytest.approx(expected, abs=6e-4)


def test_what_was_measured_of_a_result_and_is_looked_at_stays_where_another_transform_is_deleted(
    done, scene, panel, images, app, monkeypatch
):
    monkeypatch.setattr(qmrml, "QT_VERSION", 5)
    first = done.run.transformNode
    panel.ui.outputTransformSelector.setCurrentNode(None)
    click(panel)
    assert finish(panel, app).transformNode is not first
    for selector in (done.ui.diceFixedSelector, done.ui.diceWarpedSelector):
        node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        set_volume(node, sitk.Cast(images[0] > 60, sitk.sitkUInt8))
        selector.setCurrentNode(node)
    done.ui.diceButton.click()
    done.ui.makeStepsButton.click()
    done.ui.flickerButton.click()
    scene.RemoveNode(first)
    assert done.ui.qualityTable.item(0, 0).text() == "Dice, mean of 1 labels"
    assert done.ui.flickerButton.checked
    done.ui.flickerButton.click()


def test_negative_numbers_of_a_label_map_are_no_labels_and_no_dice_is_above_1(done, scene, images):
    low, high = (sitk.Cast(images[0] > value, sitk.sitkInt16) for value in (30, 90))
    for labels, selector in (
        (2 * low - 1, done.ui.diceFixedSelector),  # -1 is unlabelled
        (2 * high - 1, done.ui.diceWarpedSelector),
    ):
        node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        set_volume(node, labels)
        selector.setCurrentNode(node)
    done.ui.diceButton.click()
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(low, high)
    table = done.ui.qualityTable
    assert [table.item(row, 0).text() for row in (0, 1)] == ["Dice, mean of 1 labels", "Dice, 1"]
    assert float(table.item(1, 1).text()) == pytest.approx(overlap.GetDiceCoefficient(), abs=6e-4)


def test_the_report_is_saved_where_the_user_says(done, tmp_path):
    done.run.transformNode.SetName("3: T1/T2")
    qt.QFileDialog.answers.append(str(tmp_path / "report.html"))
    done.ui.saveReportButton.click()
    assert (tmp_path / "report.html").read_text() == "<html>report</html>"
    assert qt.QFileDialog.proposed == str(Path(slicer.app.defaultScenePath) / "3_ T1_T2.html")
    qt.QFileDialog.answers.append("")  # the user thinks better of it
    done.ui.saveReportButton.click()


@pytest.mark.parametrize("replace", [None, True, False])
def test_a_file_gets_its_suffix_and_replaces_none_of_which_nobody_was_asked(done, tmp_path, monkeypatch, replace):
    questions = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: questions.append(text) or replace)
    file = tmp_path / "T1.5 report.html"
    if replace is not None:
        file.write_text("an earlier one")
    qt.QFileDialog.answers.append(str(tmp_path / "T1.5 report"))
    done.ui.saveReportButton.click()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == ("an earlier one" if replace is False else "<html>report</html>")
    assert questions == ([] if replace is None else [f"{file} is there already. Replace it?"])


def test_quality_comes_back_with_the_transform_it_belongs_to(done, panel):
    panel.ui.outputTransformSelector.setCurrentNode(None)
    assert done.ui.verdictLabel.text == "No result yet."
    assert done.ui.qualityTable.rowCount == 0
    panel.ui.outputTransformSelector.setCurrentNode(done.run.transformNode)
    assert "Good" in done.ui.verdictLabel.text


def test_the_table_is_copied_and_saved_as_it_is_shown(done, tmp_path):
    done.ui.copyTableButton.click()
    rows = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    assert ["Similarity (local NCC), before / after", "0.250 / 0.550"] in rows
    assert len(rows) == done.ui.qualityTable.rowCount
    qt.QFileDialog.answers.append(str(tmp_path / "table.csv"))
    done.ui.saveTableButton.click()
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["Measure", "Value"], *rows]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no files")
@pytest.mark.parametrize(("button", "name"), [("saveTableButton", "earlier.csv"), ("saveReportButton", "earlier.HTML")])
def test_an_earlier_file_stays_whole_where_there_is_no_room_for_the_next(done, tmp_path, button, name, capsys):
    import resource  # which limits what is printed as well, unless it goes into memory

    file = tmp_path / name
    file.write_text("what was saved before")
    qt.QFileDialog.answers.append(str(file))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        getattr(done.ui, button).click()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{file} could not be written (File too large); choose another place." in str(pythonqt.slot_errors.pop()[1])
    assert file.read_text() == "what was saved before"
    assert list(tmp_path.iterdir()) == [file]


def test_the_checkerboard_takes_its_squares_from_fixed_and_warped_in_turn(done, images):
    done.ui.checkerboardButton.click()
    node = slicer.mrmlScene.GetNodeByID(done.views[0].GetBackgroundVolumeID())
    board = slicer.util.arrayFromVolume(node).astype(float)
    parts = []
    for image in (images[0], sitk.Resample(images[1], images[0], known_map(*images), sitk.sitkLinear)):
        values = sitk.GetArrayFromImage(image).astype(float)
        parts.append(np.clip(values / np.percentile(values[values > values.min()], 99.5), 0, 1) * 255)
    nearer = [np.abs(board - part) < 2 for part in parts]
    assert (nearer[0] | nearer[1]).mean() > 0.99  # every voxel is of one of them
    decided = nearer[0] ^ nearer[1]
    assert 0.4 < nearer[0][decided].mean() < 0.6
    assert done.views[0].GetForegroundVolumeID() is None

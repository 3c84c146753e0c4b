"""The Steps and Quality sections after a registration, and what they put into the scene."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from standin import pythonqt, qmrml
from standin.clicking import behave, click, finish, state_of, wait_until
from standin.worker import QUALITY, known_map, known_step

from ULAERegistrationLib.mrml.volumes import set_volume


@pytest.fixture
def done(panel, pair, app, scene):
    """A finished registration, in three slice views."""
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    click(panel)
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    return SimpleNamespace(run=run, views=views, ui=panel.ui)


def stages_of(run):
    from ULAERegistrationParts.stages import Stages

    return Stages.find(run.transformNode)


def test_the_steps_are_made_only_when_asked_for_and_removed_again(panel, done, scene):
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
    before = state_of(scene)
    done.ui.makeStepsButton.click()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 2
    assert done.ui.stageSlider.enabled
    assert done.ui.makeStepsButton.toolTip.startswith("Takes the sequence")
    done.ui.makeStepsButton.click()
    assert state_of(scene).keys() == before.keys()
    assert not done.ui.stageSlider.enabled
    assert done.ui.makeStepsButton.toolTip.startswith("Puts the three steps")


def test_the_slider_goes_from_moving_to_fixed(done, images):
    ui = done.ui
    ui.makeStepsButton.click()
    stages = stages_of(done.run)
    centre = np.array(images[0].TransformContinuousIndexToPhysicalPoint([n / 2 for n in images[0].GetSize()]))
    found = []
    for stage in range(5):
        ui.stageSlider.setValue(stage)
        transform = stages.proxy("total").GetTransformFromParent()
        found.append(np.multiply(transform.TransformPoint(centre * [-1, -1, 1]), [-1, -1, 1]))
        assert {view.GetForegroundVolumeID() for view in done.views} == {stages.volume.GetID()}
        assert {view.GetForegroundOpacity() for view in done.views} == {0.0 if stage == 4 else 0.7}
        assert ("Moving", "φ1", "φ2", "φ3", "Fixed")[stage] in ui.stageNameLabel.text.split("<b>")[1]
    for stage in range(4):
        assert np.allclose(found[stage], known_step(*images, stage).TransformPoint(centre), atol=1e-3)
    assert {view.GetBackgroundVolumeID() for view in done.views} == {done.run.fixedVolumeID}


def test_the_slider_follows_slicers_sequence_toolbar_and_leads_it(done):
    ui = done.ui
    ui.makeStepsButton.click()
    stages = stages_of(done.run)
    assert slicer.modules.sequences._active is stages.browser
    ui.modeComboBox.setCurrentText("magnitude")
    stages.browser.SetSelectedItemNumber(1)  # as the toolbar's own slider does
    assert ui.stageSlider.value == 1
    assert "φ1" in ui.stageNameLabel.text.split("<b>")[1]
    assert np.allclose(slicer.util.arrayFromVolume(stages.magnitude()), 3.0, atol=1e-3)
    ui.stageSlider.setValue(4)  # the fixed volume, for which the toolbar has no place of its own
    assert stages.browser.GetSelectedItemNumber() == 3
    assert ui.stageSlider.value == 4
    stages.browser.SetSelectedItemNumber(0)
    assert ui.stageSlider.value == 0


def test_the_stage_shows_the_original_moving_voxels_warped_once(done, pair):
    done.ui.makeStepsButton.click()
    volume = stages_of(done.run).volume
    assert volume.GetImageData() is pair[1].GetImageData()  # no copy
    assert volume.GetParentTransformNode() is stages_of(done.run).proxy("total")


@pytest.mark.parametrize(("flow", "kind"), [("own", "flow"), ("cumulative", "total")])
@pytest.mark.parametrize("mode", ["arrows", "grid", "contours"])
def test_a_flow_is_drawn_in_slices_and_in_3d(done, flow, kind, mode):
    ui = done.ui
    ui.makeStepsButton.click()
    ui.flowComboBox.setCurrentText(flow)
    ui.modeComboBox.setCurrentText(mode)
    ui.threeDCheckBox.click()
    display = stages_of(done.run).proxy(kind).GetDisplayNode()
    assert (display.GetVisibility2D(), display.GetVisibility3D()) == (1, 1)
    assert display.GetRegionNode().GetID() == done.run.fixedVolumeID
    assert display.GetVisualizationMode() == ["arrows", "grid", "contours"].index(mode)
    other = stages_of(done.run).proxy("total" if kind == "flow" else "flow").GetDisplayNode()
    assert not other.GetVisibility()
    ui.modeComboBox.setCurrentText("none")
    assert not display.GetVisibility()


def test_the_magnitude_of_a_flow_is_a_map_in_millimetres(done):
    ui = done.ui
    ui.makeStepsButton.click()
    ui.modeComboBox.setCurrentText("magnitude")
    node = stages_of(done.run).magnitude()
    assert np.allclose(slicer.util.arrayFromVolume(node), 3.0, atol=1e-3)  # each step adds (1, 2, 2) mm
    assert {view.GetForegroundVolumeID() for view in done.views} == {node.GetID()}
    ui.stageSlider.setValue(0)
    assert np.abs(slicer.util.arrayFromVolume(node)).max() == 0


def test_flicker_switches_between_stage_and_fixed_volume(done, app):
    done.ui.makeStepsButton.click()
    done.ui.flickerButton.click()
    seen = set()
    wait_until(app, lambda: seen.add(done.views[0].GetForegroundOpacity()) or seen == {0.0, 0.7})
    done.ui.flickerButton.click()
    assert done.views[0].GetForegroundOpacity() == 0.7


def test_difference_maps_are_those_of_figure_4(done, images):
    ui = done.ui
    ui.makeStepsButton.click()
    ui.differenceComboBox.setCurrentText("|M2 - M1|")
    shown = slicer.mrmlScene.GetNodeByID(done.views[0].GetForegroundVolumeID())
    assert shown.GetName().endswith("|M2 - M1|")
    moving = sitk.Cast(images[1], sitk.sitkFloat32)
    first, second = (
        sitk.GetArrayFromImage(sitk.Resample(moving, images[0], known_step(*images, step), sitk.sitkLinear))
        for step in (1, 2)
    )
    ours = slicer.util.arrayFromVolume(shown)
    assert np.abs(ours - np.abs(second - first)).mean() < 0.01 * first.max()
    ui.differenceComboBox.setCurrentText("none")
    assert done.views[0].GetForegroundVolumeID() == stages_of(done.run).volume.GetID()


def test_the_steps_survive_saving_and_loading_the_scene(done, scene, tmp_path, panel):
    done.ui.makeStepsButton.click()
    done.ui.stageSlider.setValue(2)
    name = done.run.transformNode.GetName()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert not done.ui.makeStepsButton.enabled
    done.ui.stageSlider.setValue(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert panel.ui.outputTransformSelector.currentNode().GetName() == name
    assert done.ui.stageSlider.enabled
    assert done.ui.stageSlider.value == 2
    done.ui.stageSlider.setValue(1)
    from ULAERegistrationParts.stages import Stages

    loaded = Stages.find(panel.ui.outputTransformSelector.currentNode())
    assert loaded.browser.GetSelectedItemNumber() == 1


def test_steps_of_which_the_result_is_deleted_while_another_module_is_shown_are_followed_no_longer(done, scene, panel):
    done.ui.makeStepsButton.click()
    browser = stages_of(done.run).browser
    panel.parent._exit()
    scene.RemoveNode(done.run.transformNode)
    browser.SetSelectedItemNumber(1)  # as the toolbar's slider does
    panel.parent._enter()
    assert not done.ui.stageSlider.enabled


@pytest.mark.parametrize("part", ["browser", "volume", "total sequence"])
def test_steps_of_which_the_user_deleted_a_part_can_be_made_anew(done, scene, part):
    from ULAERegistrationParts.outputs import derived

    done.ui.makeStepsButton.click()
    scene.RemoveNode(derived(done.run.transformNode, part)[0])
    done.ui.stageSlider.setValue(1)
    assert stages_of(done.run) is None
    done.ui.makeStepsButton.click()
    done.ui.stageSlider.setValue(2)
    assert stages_of(done.run).current == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 2


def test_a_new_result_takes_the_old_steps_and_maps_away(done, scene, app, panel):
    done.ui.makeStepsButton.click()
    done.ui.jacobianButton.click()
    click(panel)
    finish(panel, app)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
    assert scene.GetFirstNodeByName("MRHead to Atlas, Jacobian determinant") is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


def test_all_of_it_lies_in_the_folder_of_the_result(done, scene):
    done.ui.makeStepsButton.click()
    done.ui.jacobianButton.click()
    done.ui.differenceComboBox.setCurrentIndex(1)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    home = tree.GetItemParent(tree.GetItemByDataNode(done.run.transformNode))
    from ULAERegistrationParts.outputs import derived

    parts = derived(done.run.transformNode)
    assert len(parts) == 10  # browser, two sequences, their two proxies, stage volume, Jacobian, three differences
    assert {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in parts} == {home}


def test_the_table_shows_the_measures_and_the_verdict_in_words(done):
    table = done.ui.qualityTable
    rows = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert rows["Similarity (local NCC), before / after"] == "0.250 / 0.550"
    assert rows["Folded, whole grid / brain"] == "0.010 % / 0.030 %"
    assert rows["Displacement, mean / largest"] == "2.5 / 9.0 mm"
    assert "Good" in done.ui.verdictLabel.text
    assert QUALITY["reasons"][0] in done.ui.verdictLabel.text


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
    assert qt.QFileDialog.proposed == "3_ T1_T2.html"
    qt.QFileDialog.answers.append("")  # the user thinks better of it
    done.ui.saveReportButton.click()


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
@pytest.mark.parametrize("button", ["saveTableButton", "saveReportButton"])
def test_an_earlier_file_stays_whole_where_there_is_no_room_for_the_next(done, tmp_path, button, capsys):
    import resource  # which limits what is printed as well, unless it goes into memory

    file = tmp_path / "earlier"
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


def test_fixed_moving_and_warped_are_shown_side_by_side_and_the_views_come_back(done, pair, scene):
    red = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    red.SetLayoutName("Red")
    red.SetSingletonTag("Red")
    red.SetOrientation("Coronal")  # as the user likes it
    red.SetSliceOffset(12.5)
    manager, before = slicer.app.layoutManager(), [state_of_view(view) for view in done.views]
    layout = manager.layout
    done.ui.sideBySideButton.click()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView
    views = {view.GetLayoutName(): view for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    rows = (("Red", pair[0]), ("Slice5", pair[1]), ("Slice9", done.run.volumeNode))
    assert [views[name].GetBackgroundVolumeID() for name, _ in rows] == [node.GetID() for _, node in rows]
    assert all(views[name].GetLinkedControl() for name, _ in rows)
    slices = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    assert [slices[name].GetOrientation() for name, _ in rows] == ["Axial", "Sagittal", "Coronal"]
    done.ui.sideBySideButton.click()
    assert (red.GetOrientation(), red.GetSliceOffset()) == ("Coronal", 12.5)
    assert manager.layout == layout
    assert [state_of_view(view) for view in done.views] == before


@pytest.mark.parametrize("other", ["none", "deleted", "no result"])
def test_the_views_come_back_where_another_transform_is_chosen_while_they_are_side_by_side(done, scene, other):
    manager, before = slicer.app.layoutManager(), [state_of_view(view) for view in done.views]
    layout = manager.layout
    done.ui.sideBySideButton.click()
    assert manager.layout != layout
    if other == "none":
        done.ui.outputTransformSelector.setCurrentNode(None)
    elif other == "deleted":
        scene.RemoveNode(done.run.transformNode)
    else:
        done.ui.outputTransformSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "by hand"))
    assert not done.ui.sideBySideButton.checked
    assert manager.layout == layout
    assert [state_of_view(view) for view in done.views] == before


def test_views_that_are_side_by_side_stay_where_the_scene_is_closed(done, scene):
    manager = slicer.app.layoutManager()
    before = manager.layout
    done.ui.sideBySideButton.click()
    arranged = manager.layout
    scene.Clear(0)
    assert not done.ui.sideBySideButton.checked
    assert manager.layout == arranged  # what they showed before is gone as well
    manager.setLayout(before)


def state_of_view(view) -> tuple:
    shown = view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()
    return *shown, view.GetLinkedControl()


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


def test_every_preset_says_what_it_is_for(panel):
    box = panel.ui.presetComboBox
    texts = [box.itemData(index, qt.Qt.ToolTipRole) for index in range(box.count)]
    assert len(set(texts)) == 3
    assert "many pairs" in texts[0]

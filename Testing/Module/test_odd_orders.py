"""What users do with a result in orders of their own: under it, inverted, copied, in folders, of another pair."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin import pythonqt
from standin.clicking import add_volume, choose, click, finish

from ULAERegistrationLib.mrml.volumes import set_volume


def labels(scene, image: sitk.Image, name: str):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    set_volume(node, sitk.Cast(image > 60, sitk.sitkUInt8))
    return node


def shown(pattern: str) -> np.ndarray:
    return slicer.util.arrayFromVolume(slicer.util.getNode(pattern)).copy()


def told() -> str:
    """The errors that slots have raised, as Slicer shows them in a box; they are expected by the test that asks."""
    found = " ".join(str(error) for error in pythonqt.slot_errors)
    pythonqt.slot_errors.clear()
    return found


def test_the_moving_volume_may_lie_under_its_own_result(panel, done, pair, app):
    done.ui.checkerboardButton.click()
    board = shown("*checkerboard")
    pair[1].SetAndObserveTransformNodeID(done.run.transformNode.GetID())
    done.ui.checkerboardButton.click()
    np.testing.assert_array_equal(shown("*checkerboard"), board)
    done.ui.makeStepsButton.click()
    done.ui.differenceComboBox.setCurrentIndex(1)
    assert told() == ""
    assert np.ptp(shown("*|M1 - M|")) > 0


@pytest.mark.parametrize("is_used", [False, True])
def test_an_inverted_result_is_not_judged_as_if_it_were_not(done, tmp_path, scene, is_used):
    node = done.run.transformNode
    node.Inverse()
    if is_used:  # VTK computes what it gives out then
        node.GetTransformFromParent().TransformPoint((0.0, 0.0, 0.0))
    done.ui.jacobianButton.click()
    assert "was inverted; invert it once more in the module Transforms first" in told()
    name = node.GetName()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    grid = slicer.util.getNode(name).GetTransformToParentAs("vtkOrientedGridTransform", False, False)
    assert grid.GetInterpolationModeAsString() == "Linear"


@pytest.mark.parametrize("removed", [False, True])
def test_a_copy_of_a_map_is_the_users_own(panel, done, app, scene, removed):
    """Modules that edit a volume, such as the Segment Editor's masking, copy its attributes and references."""
    done.ui.jacobianButton.click()
    original = slicer.util.getNode("*Jacobian determinant")
    copy = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "masked")
    copy.Copy(original)
    copy.SetName("masked")
    copy.CopyReferences(original)
    slicer.util.updateVolumeFromArray(copy, np.full((4, 4, 4), 7, np.float32))
    if removed:
        scene.RemoveNode(original)
        done.ui.jacobianButton.click()
    else:
        click(panel)
        finish(panel, app)
    assert copy.GetScene() is scene
    assert (slicer.util.arrayFromVolume(copy) == 7).all()


def test_a_copy_of_a_transform_takes_nothing_of_the_result_away(panel, done, app, scene):
    from ULAERegistrationParts.outputs import derived

    done.ui.jacobianButton.click()
    copy = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "kept")
    copy.Copy(done.run.transformNode)
    assert derived(copy) == []
    assert len(derived(done.run.transformNode)) == 1


def test_dice_is_of_the_labels_that_the_result_itself_carried(panel, pair, scene, images, app):
    panel.enter()
    panel.ui.carrySelector.check(labels(scene, images[1], "labels A"))
    panel.ui.diceFixedSelector.setCurrentNode(labels(scene, images[0], "labels fixed"))
    click(panel)
    finish(panel, app)
    assert panel.ui.qualityTable.item(0, 0).text().startswith("Dice")
    choose(panel.ui.movingVolumeSelector, add_volume(scene, images[1], "patient B"))
    click(panel)
    finish(panel, app)
    panel.ui.diceButton.click()
    assert "labels A to Atlas was carried along by another registration; choose labels that this one carried" in told()
    assert not panel.ui.qualityTable.item(0, 0).text().startswith("Dice")


def test_buttons_wait_for_the_volumes_that_they_need(panel, done, pair, scene, images):
    for selector in (panel.ui.diceFixedSelector, panel.ui.diceWarpedSelector):
        selector.setCurrentNode(labels(scene, images[0], "labels"))
    buttons = (panel.ui.diceButton, panel.ui.checkerboardButton, panel.ui.sideBySideButton)
    assert [button.enabled for button in buttons] == [True, True, True]
    scene.RemoveNode(pair[0])
    assert [button.enabled for button in buttons] == [False, False, False]
    panel.ui.outputTransformSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "by hand"))
    assert not panel.ui.diceButton.enabled


@pytest.mark.parametrize("text", ['{"verdict": "good"}', '{"verdict": "good", "reasons": []}', "no json", "[]"])
def test_a_result_of_another_version_is_shown_as_far_as_it_is_known(panel, scene, text):
    from ULAERegistrationParts.outputs import QUALITY

    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "earlier")
    node.SetAttribute(QUALITY, text)
    panel.ui.outputTransformSelector.setCurrentNode(node)
    assert told() == ""
    assert panel.ui.qualityTable.rowCount == 0


def test_what_is_made_of_a_result_lies_in_the_folder_that_the_user_has_put_it_in(panel, done, scene, app):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    root = hierarchy.GetSceneItemID()
    mine = hierarchy.CreateFolderItem(root, "Patient 7")
    node = done.run.transformNode
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), mine)
    done.ui.jacobianButton.click()
    click(panel)
    finish(panel, app)
    done.ui.checkerboardButton.click()
    for made in (node, slicer.util.getNode("*checkerboard")):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made)) == mine


def test_volumes_are_proposed_once_and_never_those_that_the_module_made(panel, done, pair, scene):
    ui, frame = panel.ui, panel.parent
    done.ui.jacobianButton.click()
    for node in pair:
        scene.RemoveNode(node)
    panel.parameterNode.SetParameter("VolumesProposed", "false")  # two others are there: what the module made
    frame._exit()
    frame._enter()
    assert ui.fixedVolumeSelector.currentNode() is None
    assert ui.movingVolumeSelector.currentNode() is None


def test_a_volume_that_is_no_longer_chosen_stays_so(panel, pair):
    panel.enter()
    for selector in (panel.ui.movingVolumeSelector, panel.ui.fixedVolumeSelector):
        assert selector.currentNode() is not None
        choose(selector, None)
    panel.parent._exit()
    panel.parent._enter()
    assert panel.ui.fixedVolumeSelector.currentNode() is None


def test_the_log_names_the_temporary_files_of_its_own_run_and_goes_with_the_scene(panel, pair, app, scene):
    click(panel)
    panel.ui.keepFilesCheckBox.click()
    finish(panel, app)
    assert "Temporary files" not in panel.ui.logTextEdit.plainText
    panel.ui.logTextEdit.setPlainText("of the first scene")
    scene.Clear(0)
    assert panel.ui.logTextEdit.plainText == ""


def test_steps_go_with_the_result_that_is_deleted_and_maps_of_the_whole_stay(panel, done, scene):
    done.ui.jacobianButton.click()
    jacobian = slicer.util.getNode("*Jacobian determinant")
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    done.ui.makeStepsButton.click()
    done.ui.modeComboBox.setCurrentText("magnitude")
    made = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode") if node.GetID() not in before}
    assert len(made) > 5
    scene.RemoveNode(done.run.transformNode)
    assert told() == ""
    left = [node for node in slicer.util.getNodesByClass("vtkMRMLNode") if "MRHead to Atlas" in (node.GetName() or "")]
    assert {node.GetName() for node in left if node.IsA("vtkMRMLStorableNode")} == {
        done.run.volumeNode.GetName(),
        jacobian.GetName(),
    }
    assert not panel.ui.stageSlider.enabled

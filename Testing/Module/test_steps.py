"""The Steps section after a registration, and what it puts into the scene."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import click, finish, state_of, wait_until
from standin.worker import known_step


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


def test_flicker_ends_where_another_module_is_shown(done, panel):
    done.ui.makeStepsButton.click()
    done.ui.flickerButton.click()
    panel.parent._exit()
    assert not done.ui.flickerButton.checked
    assert done.views[0].GetForegroundOpacity() == 0.7
    panel.parent._enter()


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
    from ULAERegistrationParts.stages import Stages

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
    shown = Stages.find(panel.ui.outputTransformSelector.currentNode())
    modes = {shown.proxy(kind).GetTransformFromParent().GetInterpolationModeAsString() for kind in ("flow", "total")}
    assert modes == {"Linear"}  # as the result itself
    done.ui.stageSlider.setValue(1)
    assert shown.browser.GetSelectedItemNumber() == 1


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

"""The brains that a registration found in whole heads are segmentations in the scene, to be corrected and chosen."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import behave, click, finish, state_of, wait_for_stage, worker_command
from standin.worker import known_brain

from ULAERegistrationLib.mrml.labels import mask_image, set_segmentation_from_mask
from ULAERegistrationLib.mrml.volumes import image_from_volume


def take_for_heads(panel, behaviour: str = "go", stage: str = "nowhere") -> None:
    behave(panel, behaviour, stage, "heads")


def segmentations(scene) -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)]


def test_the_brains_that_were_found_are_in_the_scene(panel, pair, scene, images, app):
    take_for_heads(panel)
    click(panel)
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    nodes = (run.fixedMaskNode, run.movingMaskNode)
    assert [node.GetName() for node in nodes] == ["Atlas brain", "MRHead brain"] == segmentations(scene)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node, volume, image in zip(nodes, pair, images, strict=True):
        segmentation = node.GetSegmentation()
        assert segmentation.GetNumberOfSegments() == 1
        assert segmentation.GetNthSegment(0).GetName() == "brain"
        assert node.GetNodeReference("referenceImageGeometryRef") is volume
        found = sitk.GetArrayFromImage(mask_image(node, image))
        assert np.array_equal(found, sitk.GetArrayFromImage(known_brain(image)))
        items = [tree.GetItemByDataNode(one) for one in (node, run.transformNode)]
        assert len({tree.GetItemParent(item) for item in items}) == 1
    ui = panel.ui
    assert (ui.fixedMaskSelector.currentNode(), ui.movingMaskSelector.currentNode()) == (None, None)
    assert "The brains that were found are in the scene" in ui.stageLabel.text
    assert "choose them as masks to register again" in ui.logTextEdit.plainText
    assert nodes[0].GetDisplayNode().GetVisibility()
    assert not nodes[1].GetDisplayNode().GetVisibility()  # it lies elsewhere than what is shown


@pytest.mark.parametrize("how", ["known", "brainMasks", "brain", "masks"])
def test_no_brain_comes_into_the_scene_where_none_was_found_wanted_or_needed(module, scene, pair, images, how):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command(registration="known" if how == "known" else "heads")
    more = {
        "known": {},
        "brainMasks": {"outputs": ULAERegistration.Outputs(brainMasks=False)},
        "brain": {"brain": "skip"},
        "masks": {},
    }[how]
    if how == "masks":
        for role, image in zip(("fixed", "moving"), images, strict=True):
            more[f"{role}Mask"] = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
            set_segmentation_from_mask(more[f"{role}Mask"], known_brain(image), "brain")
    before = segmentations(scene)
    run = logic.register(*pair, acceptLicence=True, **more)
    assert (run.fixedMaskNode, run.movingMaskNode, run.notes) == (None, None, [])
    assert segmentations(scene) == before


@pytest.mark.parametrize(("behaviour", "state"), [("hang", "cancelled"), ("fail", "failed")])
def test_a_run_that_does_not_end_well_leaves_no_brain(panel, pair, scene, app, behaviour, state):
    panel.enter()
    before = state_of(scene)
    take_for_heads(panel, behaviour, "Writing the warped volume")
    click(panel)
    if state == "cancelled":
        wait_for_stage(app, panel, "Writing the warped volume")
        panel.ui.registerButton.click()
    assert finish(panel, app).state == state
    app.processEvents()
    assert state_of(scene) == before


def test_what_the_scene_refuses_takes_the_brains_out_again(panel, pair, scene, app, monkeypatch):
    from ULAERegistrationParts import outputs

    panel.enter()
    before = state_of(scene)
    monkeypatch.setattr(outputs, "putInFolder", lambda *nodes: 1 / 0)
    take_for_heads(panel)
    click(panel)
    run = finish(panel, app)
    assert run.state == "failed"
    assert (run.fixedMaskNode, run.movingMaskNode) == (None, None)
    assert state_of(scene) == before


def test_brains_do_not_pile_up_also_in_a_scene_that_was_loaded(panel, pair, scene, app, tmp_path):
    take_for_heads(panel)
    click(panel)
    first = finish(panel, app)
    click(panel)
    second = finish(panel, app)
    assert (second.fixedMaskNode, second.movingMaskNode) == (first.fixedMaskNode, first.movingMaskNode)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    take_for_heads(panel)
    click(panel)
    assert finish(panel, app).state == "done"
    assert segmentations(scene) == ["Atlas brain", "MRHead brain"]


def test_a_brain_that_was_corrected_is_not_overwritten_and_can_be_chosen(panel, pair, scene, images, app):
    take_for_heads(panel)
    click(panel)
    first = finish(panel, app)
    corrected = sitk.BinaryErode(known_brain(images[0]), (1, 1, 1))
    set_segmentation_from_mask(first.fixedMaskNode, corrected, "brain")  # as the Segment Editor does
    click(panel)
    second = finish(panel, app)
    assert second.fixedMaskNode is not first.fixedMaskNode
    assert second.movingMaskNode is first.movingMaskNode
    kept = sitk.GetArrayFromImage(mask_image(first.fixedMaskNode, images[0]))
    assert np.array_equal(kept, sitk.GetArrayFromImage(corrected))
    panel.ui.fixedMaskSelector.setCurrentNode(first.fixedMaskNode)
    click(panel)
    third = finish(panel, app)
    assert (third.fixedMaskNode, third.movingMaskNode) == (None, first.movingMaskNode)
    assert "MRHead brain was found and is in the scene" in panel.ui.stageLabel.text


def test_a_brain_moves_with_its_volume(panel, pair, scene, images, app):
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = 30, -20, 10
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    pair[0].SetAndObserveTransformNodeID(parent.GetID())
    take_for_heads(panel)
    click(panel)
    node = finish(panel, app).fixedMaskNode
    for _ in range(2):
        volume = image_from_volume(pair[0])
        found = sitk.GetArrayFromImage(mask_image(node, volume))
        assert np.array_equal(found, sitk.GetArrayFromImage(known_brain(volume)))
        matrix[:2, 3] = 0
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))


def test_the_brain_of_a_volume_that_is_gone_is_not_kept(panel, pair, scene, app):
    take_for_heads(panel)
    click(panel)
    scene.RemoveNode(pair[1])
    run = finish(panel, app)
    assert run.state == "done", run.error
    assert run.movingMaskNode is None
    assert segmentations(scene) == ["Atlas brain"]

"""What cannot be an input or an output is refused in one sentence, before anything is computed or overwritten."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import add_volume, choose, click, finish, worker_command

from ULAERegistrationLib.errors import NOT_ENOUGH_MEMORY
from ULAERegistrationLib.mrml.volumes import set_volume


@pytest.fixture
def refused():
    """The exception of the library as it is loaded now, which another test may have reloaded."""
    from ULAERegistrationLib.errors import RegistrationError

    return RegistrationError


@pytest.fixture
def logic(module, scene):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    return logic


def labels(scene, image: sitk.Image, name: str):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    set_volume(node, sitk.Cast(image > 60, sitk.sitkUInt8))
    return node


@pytest.mark.parametrize("what", ["volume", "jacobian"])
def test_what_shows_a_part_of_a_result_is_no_output(panel, done, pair, app, boxes, what):
    """The volume of the steps shares its voxels with the moving volume, which would be written over."""
    from ULAERegistrationParts.outputs import derived

    done.ui.makeStepsButton.click()
    done.ui.jacobianButton.click()
    part = derived(done.run.transformNode, what)[0]
    before = slicer.util.arrayFromVolume(pair[1]).copy()
    choose(done.ui.outputVolumeSelector, part)
    click(panel)
    assert panel.registerPanel.run is None
    assert done.ui.stageLabel.text == (
        f"{part.GetName()} shows a part of a result or of a sequence; select another output."
    )
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(pair[1]), before)


def test_what_a_sequence_overwrites_is_no_output(logic, pair, scene, refused):
    import ULAERegistration

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    frame = slicer.vtkMRMLScalarVolumeNode()
    frame.Copy(pair[1])
    sequence.SetDataNodeAtValue(frame, "0")
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    into = ULAERegistration.Outputs(volume=browser.GetProxyNode(sequence))
    with pytest.raises(refused, match="shows a part of a result or of a sequence; select another output"):
        logic.register(*pair, outputs=into, acceptLicence=True)


def test_another_input_is_no_output(logic, pair, scene, images, refused):
    import ULAERegistration

    other, mask = add_volume(scene, images[1], "T2"), labels(scene, images[1], "brain")
    along = ULAERegistration.Outputs(volume=other, alsoTransform=[other])
    with pytest.raises(refused, match="T2 is an input too and would be overwritten; select another output"):
        logic.register(*pair, outputs=along, acceptLicence=True)
    with pytest.raises(refused, match="brain is an input too and would be overwritten"):
        logic.register(*pair, movingMask=mask, outputs=ULAERegistration.Outputs(volume=mask), acceptLicence=True)


def test_nodes_of_other_classes_are_named_in_a_sentence(logic, pair, scene, images, refused):
    import ULAERegistration

    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")
    mask = labels(scene, images[1], "brain")
    for volumes in (("Atlas", pair[1]), (pair[0], segmentation), (pair[0], mask)):
        with pytest.raises(refused, match=r"('Atlas'|seg|brain) is no scalar volume; select another one"):
            logic.register(*volumes, acceptLicence=True)
    for choice, sentence in (
        ({"movingMask": pair[1]}, "MRHead is no segmentation or label map; select another mask"),
        ({"fixedMask": "brain"}, "'brain' is no segmentation or label map"),
        ({"initialTransform": segmentation}, "seg is no transform; select another one"),
        ({"outputs": ULAERegistration.Outputs(volume=segmentation)}, "seg is no scalar volume; select another output"),
    ):
        with pytest.raises(refused, match=sentence):
            logic.register(*pair, **choice, acceptLicence=True)
    with pytest.raises(TypeError, match="'seg' is no node of the scene"):
        ULAERegistration.Outputs(alsoTransform=["seg"])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), NOT_ENOUGH_MEMORY),
        (RuntimeError("in a filter:\nsitk::ERROR: bad"), "(RuntimeError: sitk::ERROR: bad)."),
    ],
)
def test_whatever_ends_the_start_is_told_in_one_sentence(panel, pair, boxes, monkeypatch, error, sentence):
    from ULAERegistrationLib.mrml import volumes

    def fails(*_):
        raise error

    monkeypatch.setattr(volumes, "image_from_volume", fails)
    click(panel)
    assert panel.ui.stageLabel.text.endswith(sentence)
    assert "\n" not in panel.ui.stageLabel.text
    assert len(boxes) == 1


def test_a_volume_that_is_moved_while_it_is_registered_is_said(panel, pair, scene, app):
    click(panel)
    run = panel.registerPanel.run
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    pair[0].SetAndObserveTransformNodeID(moved.GetID())
    assert finish(panel, app) is run
    assert run.notes == ["Atlas was moved while it was registered; the result is for where it lay before."]

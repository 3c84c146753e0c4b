"""Registration by the module's logic, without the panel, as scripts use it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import add_volume, worker_command

from ULAERegistrationLib.mrml.contents import contents_of
from ULAERegistrationLib.mrml.labels import set_segmentation_from_mask
from ULAERegistrationLib.mrml.volumes import set_volume

ROOT = Path(__file__).parents[2]


def test_the_logic_registers_without_the_panel(module, scene, pair, app):

    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    heard = []
    run = logic.register(
        *pair,
        preset="fast",
        outputs=ULAERegistration.Outputs(makeVolume=False),
        acceptLicence=True,
        progress=lambda run: heard.append(run.message),
    )
    assert run.state == "done"
    assert run.volumeNode is None
    assert run.quality["ncc_after"] == 0.55
    assert heard
    assert "fixedVolume" in logic.register.__doc__


def test_a_volume_that_a_script_overwrites_is_no_longer_of_the_earlier_result(module, scene, pair, images):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    first = logic.register(*pair, acceptLicence=True)
    other = add_volume(scene, images[1], "follow-up")
    second = logic.register(
        pair[0], other, outputs=ULAERegistration.Outputs(volume=first.volumeNode), acceptLicence=True
    )
    assert second.volumeNode is first.volumeNode
    assert second.volumeNode.GetName() == "follow-up to Atlas, warped"
    assert first.transformNode.GetNodeReference("ULAERegistrationWarped") is None
    assert second.transformNode.GetNodeReference("ULAERegistrationWarped") is second.volumeNode


@pytest.mark.parametrize("step", ["volumes.set_volume", "outputs.showLike", "outputs.putInFolder"])
def test_a_result_that_cannot_be_put_into_the_scene_as_a_whole_leaves_it_as_it_was(
    module, scene, pair, images, monkeypatch, step
):
    """Also what it was to overwrite: a transform, the volume of another result, and the brains that were found."""
    from ULAERegistrationParts import outputs

    import ULAERegistration
    from ULAERegistrationLib.errors import RegistrationError
    from ULAERegistrationLib.mrml import volumes

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command(registration="heads")
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "regions")
    set_volume(labels, sitk.Cast(images[1] > 200, sitk.sitkUInt8))
    first = logic.register(*pair, acceptLicence=True)
    other = add_volume(scene, images[1], "follow-up")
    second = logic.register(pair[0], other, acceptLicence=True)
    second.transformNode.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID())
    first.volumeNode.SetAndObserveDisplayNodeID(None)
    slicer.util.arrayFromVolume(first.volumeNode)[:] = 7
    # As if other weights had found this brain, and nobody had changed it since.
    set_segmentation_from_mask(first.fixedMaskNode, images[0] > 150, "brain")
    first.fixedMaskNode.SetAttribute("ULAERegistration.contents", contents_of(first.fixedMaskNode))
    pair[0].SetName("template")  # after which all of them would be named
    before = held(scene)

    def without_memory(*_):
        raise MemoryError("no room")

    of, name = step.split(".")
    monkeypatch.setattr({"volumes": volumes, "outputs": outputs}[of], name, without_memory)
    into = ULAERegistration.Outputs(second.transformNode, first.volumeNode, alsoTransform=[labels])
    with pytest.raises(RegistrationError, match="could not be put into the scene: There is not enough memory"):
        logic.register(pair[0], other, outputs=into, acceptLicence=True)
    assert held(scene) == before
    monkeypatch.undo()
    again = logic.register(pair[0], other, outputs=into, acceptLicence=True)
    assert (again.transformNode, again.volumeNode) == (second.transformNode, first.volumeNode)
    assert again.fixedMaskNode is first.fixedMaskNode


def held(scene) -> dict[str, tuple]:
    """What every node of the scene is and holds, by its ID, but for the settings of the panel."""
    found = {}
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    for node in (node for node in nodes if not node.IsA("vtkMRMLScriptedModuleNode")):
        roles = []
        node.GetNodeReferenceRoles(roles)
        references = {
            (role, nth): node.GetNthNodeReferenceID(role, nth)
            for role in roles
            for nth in range(node.GetNumberOfNodeReferences(role))
        }
        attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
        content = ""
        if node.IsA("vtkMRMLGridTransformNode"):
            content = str(node.GetTransformFromParent().GetMTime())
        elif node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLSegmentationNode"):
            content = contents_of(node)
        found[node.GetID()] = (node.GetName(), references, attributes, content)
    return found


def test_a_result_is_looked_for_in_the_scene_that_it_is_of(module, scene):
    from ULAERegistrationParts.outputs import WARPED, resultsOf

    other = slicer.vtkMRMLScene()
    volume = other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped")
    transform = other.AddNewNodeByClass("vtkMRMLGridTransformNode", "result")
    transform.SetNodeReferenceID(WARPED, volume.GetID())
    assert resultsOf(volume) == [transform]


def test_closing_the_scene_ends_a_run_of_the_logic_too(module, scene, pair, app):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    ended = []
    run = logic.register(*pair, acceptLicence=True, waitForCompletion=False, finished=ended.append)
    scene.Clear(0)
    assert run.state == "cancelled"
    for _ in range(30):
        app.processEvents()
        time.sleep(0.01)
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0
    assert ended == [run]


@pytest.mark.parametrize("by", ["the run", "the logic", "all"])
def test_who_does_not_wait_for_a_run_is_told_once_that_it_was_cancelled(module, scene, pair, app, by):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command("hang", "Network, step 1 of 3")
    ended = []
    run = logic.register(*pair, acceptLicence=True, waitForCompletion=False, finished=ended.append)
    {"the run": run.cancel, "the logic": lambda: logic.cancel(run), "all": logic.cancelAll}[by]()
    assert ended == ([] if by == "the run" else [run])
    for _ in range(30):
        app.processEvents()
        time.sleep(0.01)
    assert ended == [run]
    logic.cancelAll()
    assert ended == [run]


def test_every_run_is_cancelled_where_one_of_those_who_are_told_fails(module, scene, pair):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command("hang", "Network, step 1 of 3")

    def fail(run) -> None:
        raise KeyError("of a script")

    runs = [logic.register(*pair, acceptLicence=True, waitForCompletion=False, finished=fail) for _ in range(2)]
    with pytest.raises(KeyError):
        logic.cancelAll()
    assert [run.state for run in runs] == ["cancelled", "cancelled"]
    with pytest.raises(KeyError):
        logic.cancelAll()  # the second one is told as well


def test_the_logic_raises_one_sentence(module, scene, pair):
    import ULAERegistration
    from ULAERegistrationLib.errors import RegistrationError

    logic = ULAERegistration.ULAERegistrationLogic()
    with pytest.raises(RegistrationError, match="the same; select two different"):
        logic.register(pair[0], pair[0], acceptLicence=True)
    with pytest.raises(RegistrationError, match="preset 'quick' is not known"):
        logic.register(*pair, preset="quick")


def test_the_loop_over_a_study_that_is_documented_runs(module, scene, images, app, tmp_path, monkeypatch, capsys):
    """The text of docs/scripting-in-slicer.md as it stands; reading and writing files is Slicer's own."""
    import ULAERegistration

    text = (ROOT / "docs" / "scripting-in-slicer.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert 'Path("/data/study")' in code
    for number, image in enumerate((*images, images[0])):
        sitk.WriteImage(image, str(tmp_path / f"{number:02d}.nii.gz"))
    (tmp_path / "03.nii.gz").write_bytes(b"this is no scan")
    saved = []

    def load(path):
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, Path(path).name, 0)
        return node or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")

    monkeypatch.setattr(slicer.util, "loadVolume", load)
    monkeypatch.setattr(slicer.util, "saveNode", lambda node, path: saved.append(Path(path).name))
    monkeypatch.setattr(ULAERegistration, "pythonExecutable", worker_command)
    exec(code.replace("/data/study", str(tmp_path)), {"slicer": slicer})
    assert saved == ["01-transform.h5", "01-warped.nrrd", "02-transform.h5", "02-warped.nrrd"]
    said = capsys.readouterr().out
    assert "01.nii.gz good The brains match better" in said
    assert "03.nii.gz empty has no voxels" in said
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0


def test_the_other_lines_for_slicers_console_run_too(module, scene, pair, images, app):
    """With a mask of the user's, and with those that a run has found in whole heads."""
    import ULAERegistration

    text = (ROOT / "docs" / "scripting-in-slicer.md").read_text(encoding="utf-8")
    _, carrying, masks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    mask = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "regions")
    set_volume(mask, sitk.Cast(images[1] > 0, sitk.sitkUInt8))
    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command(registration="heads")
    names = {"ULAERegistration": ULAERegistration, "logic": logic, "fixed": pair[0], "moving": pair[1]}
    names |= {"mask": mask, "segmentation": mask}
    exec(carrying, names)
    assert [node.GetName() for node in names["run"].carriedNodes] == ["regions to Atlas"]
    exec(masks, names)
    assert names["run"].state == "done"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2  # what the first of the two runs has found


def test_what_the_read_me_types_into_the_console_runs(panel, scene, images):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = [block.split("```")[0] for block in text.split("```python\n")[1:] if "slicer." in block]
    for name, image in zip(("ULAESimulatedSubject", "ULAETemplate"), images, strict=True):  # of Sample Data
        add_volume(scene, image, name)
    names = {"slicer": slicer, "getNode": slicer.util.getNode}
    exec(code, names)
    assert names["result"].transformNode.IsA("vtkMRMLGridTransformNode")
    assert names["result"].state == "done"

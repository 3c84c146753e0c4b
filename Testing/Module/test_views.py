"""What the slice views show: layers of a result, or three volumes side by side, and the way back."""

from __future__ import annotations

import pytest
import slicer
from standin.clicking import click, finish


def state_of_view(view) -> tuple:
    shown = view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()
    return *shown, view.GetLinkedControl()


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


SHOW_SOMETHING_ELSE = {
    "the Jacobian": lambda ui: ui.jacobianButton.click(),
    "a checkerboard": lambda ui: ui.checkerboardButton.click(),
    "a stage": lambda ui: ui.stageSlider.setValue(1),
    "a difference": lambda ui: ui.differenceComboBox.setCurrentIndex(1),
    "flicker": lambda ui: ui.flickerButton.click(),
    "no steps": lambda ui: ui.makeStepsButton.click() or ui.makeStepsButton.click(),
}


@pytest.mark.parametrize("other", SHOW_SOMETHING_ELSE)
def test_whatever_else_is_shown_ends_side_by_side_first(done, other):
    done.ui.makeStepsButton.click()
    manager = slicer.app.layoutManager()
    layout = manager.layout
    done.ui.sideBySideButton.click()
    SHOW_SOMETHING_ELSE[other](done.ui)
    assert not done.ui.sideBySideButton.checked
    assert manager.layout == layout
    done.ui.flickerButton.checked = False


def test_the_next_result_ends_side_by_side(done, panel, app):
    manager = slicer.app.layoutManager()
    layout = manager.layout
    done.ui.sideBySideButton.click()
    click(panel)
    finish(panel, app)
    assert not done.ui.sideBySideButton.checked
    assert manager.layout == layout


def test_flicker_ends_where_volumes_are_shown_side_by_side(done):
    done.ui.makeStepsButton.click()
    done.ui.flickerButton.click()
    done.ui.sideBySideButton.click()
    assert not done.ui.flickerButton.checked
    assert done.ui.sideBySideButton.checked
    done.ui.sideBySideButton.click()


def test_views_are_fitted_when_they_have_their_size(done, monkeypatch):
    from ULAERegistrationParts import views

    sized = []
    monkeypatch.setattr(views, "_fit", lambda: sized.append(slicer.app.layoutManager()._sized))
    done.ui.sideBySideButton.click()
    assert sized == [True]
    done.ui.sideBySideButton.click()


def test_a_reload_brings_the_views_back(done):
    manager = slicer.app.layoutManager()
    layout = manager.layout
    done.ui.sideBySideButton.click()
    slicer.modules.ULAERegistrationWidget.onReload()
    assert manager.layout == layout

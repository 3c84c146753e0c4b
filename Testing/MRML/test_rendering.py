"""What a result looks like in slice and 3D views: warped volume, flows and colour legend are really drawn."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin.sliceview import SliceView
from standin.threedview import ThreeDView
from ULAERegistrationParts import maps, stages
from ULAERegistrationParts.outputs import referenced

from ULAERegistrationLib.mrml.transforms import grid_transform, no_displacement, set_transform

SIZE = (300, 300)


@pytest.fixture(scope="module")
def view(mrml):
    """One axial view; like Slicer's own it outlives closing the scene."""
    mrml.scene.Clear(0)
    return SliceView(mrml.application, "Red", "Axial", SIZE)


@pytest.fixture(scope="module")
def space(mrml):
    """One 3D view."""
    mrml.scene.Clear(0)
    return ThreeDView(mrml.application, size=SIZE)


@pytest.fixture
def shown(view, scene, load, known_field):
    """A result with steps in the scene, and an axial view of its fixed volume."""
    fixed, moving = load("oblique/na16"), load("oasis/1101")
    for node in (fixed, moving):
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    field = known_field[0].GetDisplacementField()
    still = no_displacement(field)
    vectors = sitk.GetArrayFromImage(field)
    wave = sitk.GetImageFromArray(vectors - vectors.mean(axis=(0, 1, 2)), isVector=True)  # the way there apart
    wave.CopyInformation(field)
    steps = {"0": field, "1": field, "2": field, "3": field, "flow1": still, "flow2": wave, "flow3": still}
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "result")
    set_transform(node, grid_transform(field), fixed, moving)
    made = stages.Stages.make(node, steps)
    view.logic.GetSliceCompositeNode().SetBackgroundVolumeID(referenced(node, "fixed").GetID())
    view.fit()
    return made, view


def coloured(pixels: np.ndarray) -> int:
    """Pixels that are not grey: those of grids and arrows."""
    return int((np.ptp(pixels.astype(int), axis=-1) > 40).sum())


def test_the_stage_lies_where_simpleitk_puts_it(shown, known_field, load, read):
    made, view = shown
    composite = view.logic.GetSliceCompositeNode()
    composite.SetForegroundVolumeID(made.volume.GetID())
    composite.SetForegroundOpacity(1.0)
    drawn = view.pixels()[..., 0] > 40
    # The same slice by SimpleITK: the view's pixels as points in the world.
    node = view.logic.GetSliceNode()
    to_ras = np.array([[node.GetXYToRAS().GetElement(i, j) for j in range(4)] for i in range(4)])
    warped = sitk.Resample(read("oasis/1101"), known_field[1], known_field[0], sitk.sitkLinear)
    rows, columns = np.mgrid[5 : SIZE[1] : 10, 5 : SIZE[0] : 10]
    agree = []
    bright = 40 / 255 * made.volume.GetDisplayNode().GetWindow() + made.volume.GetDisplayNode().GetWindowLevelMin()
    for r, c in zip(rows.ravel().tolist(), columns.ravel().tolist(), strict=True):
        point = (to_ras @ [c, SIZE[1] - 1 - r, 0, 1])[:3] * [-1, -1, 1]
        index = warped.TransformPhysicalPointToContinuousIndex(point.tolist())
        if all(0 <= i <= n - 1 for i, n in zip(index, warped.GetSize(), strict=True)):
            agree.append((warped.EvaluateAtContinuousIndex(index) > bright) == drawn[r, c])
    assert len(agree) > 300
    assert np.mean(agree) > 0.97  # the rest lie on the border of the brain


@pytest.mark.parametrize("mode", ["grid", "arrows", "contours"])
def test_a_flow_is_drawn_for_the_step_that_moves_and_for_no_other(shown, mode):
    made, view = shown
    made.goTo(2)
    made.showFlow("flow", mode, in2D=True, in3D=False)
    moving_step = coloured(view.pixels())
    made.goTo(1)
    still_step = coloured(view.pixels())
    made.showFlow("flow", "none", in2D=True, in3D=False)
    assert moving_step > 300
    assert still_step < 0.05 * moving_step
    assert coloured(view.pixels()) == 0


@pytest.mark.parametrize("mode", ["grid", "arrows", "contours"])
def test_a_flow_is_drawn_in_3d_where_it_is_asked_for(space, shown, mode):
    made, _ = shown
    made.goTo(2)
    made.showFlow("flow", mode, in2D=True, in3D=False)
    assert coloured(space.pixels()) == 0
    made.showFlow("flow", mode, in2D=False, in3D=True)
    space.look_from(1, 1, 0.5)
    assert coloured(space.pixels()) > 300


def test_a_map_is_drawn_with_its_legend(shown):
    made, view = shown
    made.goTo(2)
    made.showFlow("flow", "magnitude", in2D=True, in3D=False)
    maps.showLayers(foreground=made.magnitude(), foregroundOpacity=1.0)
    with_legend = view.pixels()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(made.magnitude())
    assert legend.GetTitleText() == "mm"
    legend.SetVisibility(False)
    changed = np.any(with_legend != view.pixels(), axis=-1)
    assert changed[:, SIZE[0] // 2 :].sum() > 300  # on the right, where Slicer puts legends
    assert not changed[:, : SIZE[0] // 2].any()
    legend.SetVisibility(True)
    maps.showLayers(foreground=made.volume)
    without = view.pixels()
    legend.SetVisibility(False)
    assert np.array_equal(without, view.pixels())  # it went with its map

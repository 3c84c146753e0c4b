"""A displacement field as a grid transform node is the same map as in SimpleITK, in memory, hardened and in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.transforms import write_transform
from ULAERegistrationLib.mrml.transforms import (
    field_from_node,
    grid_transform,
    jacobian_determinant,
    set_transform,
    start_transform,
)
from ULAERegistrationLib.mrml.volumes import image_from_volume

LPS = np.array([-1.0, -1.0, 1.0])
POINTS = 10_000


@pytest.fixture
def node(scene, known_field):
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "result")
    set_transform(node, grid_transform(known_field[0].GetDisplacementField()), None, None)
    return node


@pytest.fixture
def points(known_field):
    """Points spread over the fixed scan, LPS."""
    fixed = known_field[1]
    indices = np.random.default_rng(5).random((POINTS, 3)) * (np.array(fixed.GetSize()) - 1)
    return [fixed.TransformContinuousIndexToPhysicalPoint(index.tolist()) for index in indices]


def mapped(node, points) -> np.ndarray:
    transform = node.GetTransformFromParent()
    return np.array([transform.TransformPoint(point * LPS) for point in points]) * LPS


def test_the_node_maps_points_as_simpleitk_does(node, known_field, points):
    theirs = np.array([known_field[0].TransformPoint(point) for point in points])
    assert np.abs(mapped(node, points) - theirs).max() <= 0.01


def test_the_field_comes_back_from_the_node(node, known_field):
    back, field = field_from_node(node), known_field[0].GetDisplacementField()
    assert np.abs(sitk.GetArrayFromImage(back) - sitk.GetArrayFromImage(field)).max() < 1e-4
    assert np.allclose(back.GetDirection(), field.GetDirection())
    assert np.allclose(back.GetOrigin(), field.GetOrigin())


def test_hardening_it_on_the_moving_volume_is_simpleitk_resampling(node, load, read, known_field):
    volume, moving, fixed = load("oasis/1101"), read("oasis/1101"), known_field[1]
    volume.SetAndObserveTransformNodeID(node.GetID())
    volume.HardenTransform()
    ours = sitk.Cast(image_from_volume(volume), sitk.sitkFloat32)
    # Slicer hardens onto a grid of its own; sample SimpleITK's answer there.
    theirs = sitk.Resample(sitk.Cast(moving, sitk.sitkFloat32), ours, known_field[0], sitk.sitkLinear, 0.0)
    inside = _inside(fixed, ours)
    difference = np.abs(sitk.GetArrayFromImage(ours) - sitk.GetArrayFromImage(theirs))[inside]
    assert difference.max() <= 1.0  # whole numbers, cut off by one and rounded by the other


def _inside(fixed: sitk.Image, like: sitk.Image) -> np.ndarray:
    """The voxels of `like` that lie in the fixed scan: beyond the field ITK stands still and Slicer goes on."""
    ones = sitk.Image(fixed.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(fixed)
    return sitk.GetArrayFromImage(sitk.Resample(ones, like, sitk.Transform(), sitk.sitkNearestNeighbor, 0)) > 0


def test_hardening_it_on_a_label_map_is_simpleitk_resampling(node, load, read, known_field):
    labels, theirs = load("oasis/1101", labels=True), read("oasis/1101", labels=True)
    labels.SetAndObserveTransformNodeID(node.GetID())
    labels.HardenTransform()
    ours = image_from_volume(labels)
    theirs = sitk.Resample(theirs, ours, known_field[0], sitk.sitkNearestNeighbor, 0)
    inside = _inside(known_field[1], ours)
    same = sitk.GetArrayFromImage(ours)[inside] == sitk.GetArrayFromImage(theirs)[inside]
    assert same.mean() > 0.9999  # the rest are voxels whose source lies on the border of two labels


@pytest.mark.parametrize("name", ["saved.h5", "saved.nii.gz", "saved.nrrd"])
def test_a_saved_transform_opens_in_simpleitk_without_a_sign_change(node, known_field, points, tmp_path, name):
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / name))
    assert storage.WriteData(node)
    if name.endswith(".h5"):
        transform = sitk.ReadTransform(str(tmp_path / name))
    else:
        field = sitk.Cast(sitk.ReadImage(str(tmp_path / name)), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(field)
    ours = np.array([transform.TransformPoint(point) for point in points[:1000]])
    theirs = np.array([known_field[0].TransformPoint(point) for point in points[:1000]])
    assert np.abs(ours - theirs).max() < 1e-4


def test_a_scene_saved_and_loaded_holds_the_same_result(mrml, scene, load, node, points, tmp_path):
    from ULAERegistrationParts.outputs import QUALITY, qualityOf, referenced

    fixed, moving = load("oblique/na16"), load("oasis/1101")
    set_transform(node, node.GetTransformFromParent(), fixed, moving)
    quality = {"verdict": "good", "reasons": ["They match."], "ncc_after": 0.5}
    node.SetAttribute(QUALITY, json.dumps(quality))
    before = mapped(node, points[:1000])
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    loaded = slicer.util.getNode("result", scene=scene)
    # Slicer reads grid transforms with cubic interpolation, whatever it saved.
    assert np.abs(mapped(loaded, points[:1000]) - before).max() < 0.01
    assert (referenced(loaded, "fixed").GetName(), referenced(loaded, "moving").GetName()) == ("na16", "1101")
    assert qualityOf(loaded) == quality


def test_the_jacobian_of_an_oblique_field_agrees_with_the_map_itself(known_field):
    field = known_field[0].GetDisplacementField()
    determinant = jacobian_determinant(field)
    size, step = field.GetSize(), 2.0  # the determinant by central differences of mapped points, in the world
    for index in ((20, 30, 25), (50, 60, 40), tuple(n // 2 for n in size)):
        point = np.array(field.TransformIndexToPhysicalPoint(index))
        axes = np.reshape(field.GetDirection(), (3, 3)).T
        columns = []
        for axis in axes:
            ahead = known_field[0].TransformPoint(point + step * axis)
            behind = known_field[0].TransformPoint(point - step * axis)
            columns.append(np.subtract(ahead, behind) / (2 * step))
        expected = np.linalg.det(np.stack(columns, axis=1)) * np.linalg.det(axes)
        assert determinant[index] == pytest.approx(expected, abs=2e-3)


@pytest.fixture
def start(scene):
    """Carries the moving volume 10 mm to the right, 20 to anterior, 30 up (RAS)."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "start")
    matrix = np.eye(4)
    matrix[:3, 3] = 10, 20, 30
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.fixture
def moving(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "moving")


def test_a_linear_node_starts_a_registration_from_where_it_carries_the_moving_volume(start, moving):
    assert np.allclose(start_transform(start, moving).TransformPoint((0, 0, 0)), (10, 20, -30))


@pytest.mark.parametrize("between", [False, True])
def test_a_node_under_which_the_moving_volume_lies_already_moves_it_no_further(scene, start, moving, between):
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "between") if between else start
    if between:
        parent.SetAndObserveTransformNodeID(start.GetID())
    moving.SetAndObserveTransformNodeID(parent.GetID())
    assert start_transform(start, moving).TransformPoint((1, 2, 3)) == (1, 2, 3)


def test_a_bent_transform_cannot_start_a_registration(node, moving):
    with pytest.raises(RegistrationError, match="result is not linear"):
        start_transform(node, moving)


@pytest.mark.parametrize("diagonal", [(0.0, 1.0, 1.0, 1.0), (np.nan, 1.0, 1.0, 1.0)])
def test_a_transform_without_an_inverse_cannot_start_a_registration(start, moving, diagonal):
    """VTK would take the identity for it, without a word."""
    start.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag(diagonal)))
    with pytest.raises(RegistrationError, match="start has no inverse; choose another transform to start from"):
        start_transform(start, moving)


def test_far_from_the_brain_slicer_takes_the_affine_map_alone_from_transform_h5(mrml, scene, tmp_path):
    """And within it the whole composite, as SimpleITK does; the field fades to zero at its border."""
    bump = np.sin(np.linspace(0, np.pi, 25)) ** 2
    vectors = np.einsum("i,j,k,c->ijkc", bump, bump, bump, (4.0, -3.0, 2.0))
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.SetSpacing((4, 4, 4))
    field.SetOrigin((-48, -52, -44))
    turn, back = sitk.Euler3DTransform((0, 0, 0), 0.3, 0.1, -0.2, (4, -6, 3)), sitk.ScaleTransform(3, (1.1, 0.9, 1.05))
    whole = sitk.CompositeTransform([back, sitk.DisplacementFieldTransform(field), turn])
    write_transform(whole, tmp_path / "transform.h5")
    node = mrml.logics["Transforms"].AddTransform(str(tmp_path / "transform.h5"), scene)
    random = np.random.default_rng(0)
    for middle, reach in ((0.0, 30.0), (300.0, 100.0)):
        points = middle + random.uniform(-reach, reach, (200, 3))
        theirs = np.array([whole.TransformPoint(point) for point in points.tolist()])
        assert np.abs(mapped(node, points) - theirs).max() < 0.05


def test_slicer_opens_a_converted_grid_transform_as_the_same_map(tmp_path):
    """Slicer reads a vector image as a grid transform; `ulae convert` writes it as .nrrd."""
    turn = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.1, (4, -6, 3))
    fixed = sitk.Image([20, 22, 24], sitk.sitkUInt8)
    fixed.SetSpacing((2, 2, 2))
    fixed.SetOrigin((-15.0, 30.0, -12.0))
    fixed.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.3, 0.1, 0.2).GetMatrix())
    write_transform(turn, tmp_path / "grid.nrrd", fixed, 2.0)

    scene = slicer.vtkMRMLScene()
    storage, node = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode"), slicer.vtkMRMLGridTransformNode()
    scene.AddNode(node)
    storage.SetFileName(str(tmp_path / "grid.nrrd"))
    assert storage.ReadData(node)
    flip = np.array([-1, -1, 1])
    for index in ([3, 4, 5], [10, 11, 12], [16, 17, 20]):
        point = np.array(fixed.TransformIndexToPhysicalPoint(index))
        slicers = np.array(node.GetTransformFromParent().TransformPoint(*(point * flip))) * flip
        assert np.abs(slicers - turn.TransformPoint(point.tolist())).max() < 0.01

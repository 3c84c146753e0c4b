"""A real registration from nodes to nodes, without Qt: an oblique fixed scan, another person's moving scan."""

from __future__ import annotations

import time

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from conftest import FIXED, MOVING, labels_on_grid
from ULAERegistrationParts.outputs import Outputs
from ULAERegistrationParts.run import Run

from ULAERegistrationLib.mrml.volumes import image_from_volume
from ULAERegistrationLib.network.weights import SHIPPED
from ULAERegistrationLib.settings import RegistrationSettings

LPS = np.array([-1.0, -1.0, 1.0])
POINTS = 10_000


@pytest.fixture(scope="module")
def registered(mrml, data_folder):
    """The finished run, what its process wrote, and the nodes it began with."""
    if not SHIPPED.is_file():
        pytest.skip(f"the shipped weights are not at {SHIPPED}")
    mrml.scene.Clear(0)

    def load(name, kind):
        file = data_folder / "raw" / f"{name}_{kind}.nii.gz"
        return mrml.logics["Volumes"].AddArchetypeVolume(str(file), file.parent.name, 1 if kind == "seg" else 0)

    fixed, moving, labels = load(FIXED, "t1"), load(MOVING, "t1"), load(MOVING, "seg")
    segments = mrml.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    mrml.logics["Segmentations"].ImportLabelmapToSegmentationNode(labels, segments)
    outputs = Outputs(alsoTransform=[labels, segments], steps=True, temporaryFiles=True)
    settings = RegistrationSettings(preset="fast", device="cpu")
    run = Run(fixed, moving, (None, None), None, outputs, settings, None)
    while not run.complete:
        run.poll()
        time.sleep(0.05)
    assert run.state == "done", run.error + run.log
    field = sitk.ReadImage(str(run.folder / "result" / "field.nrrd"), sitk.sitkVectorFloat64)
    warped = sitk.ReadImage(str(run.folder / "result" / "warped.nrrd"))
    for path in sorted(run.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    run.folder.rmdir()
    yield run, sitk.DisplacementFieldTransform(field), warped
    mrml.scene.Clear(0)


def oracle(data_folder, name: str, kind: str) -> sitk.Image:
    return sitk.ReadImage(str(data_folder / "raw" / f"{name}_{kind}.nii.gz"))


def test_the_brains_match_better_than_before(registered):
    quality = registered[0].quality
    assert quality["ncc_after"] > quality["ncc_before"] + 0.1
    assert quality["verdict"] == "good", quality["reasons"]


def test_ten_thousand_points_go_where_simpleitk_sends_them(registered, data_folder):
    run, transform, _ = registered
    fixed = oracle(data_folder, FIXED, "t1")
    indices = np.random.default_rng(1).random((POINTS, 3)) * (np.array(fixed.GetSize()) - 1)
    points = [fixed.TransformContinuousIndexToPhysicalPoint(index.tolist()) for index in indices]
    node = run.transformNode.GetTransformFromParent()
    ours = np.array([node.TransformPoint(point * LPS) for point in points]) * LPS
    assert np.abs(ours - [transform.TransformPoint(point) for point in points]).max() <= 0.01


def test_the_warped_volume_and_labels_are_simpleitks(registered, data_folder):
    run, transform, _ = registered
    fixed = oracle(data_folder, FIXED, "t1")
    still, nearest = sitk.Transform(), sitk.sitkNearestNeighbor  # Slicer's reader has flipped an axis of the fixed scan
    ours = sitk.Resample(image_from_volume(run.volumeNode), fixed, still, nearest)
    theirs = sitk.Resample(oracle(data_folder, MOVING, "t1"), fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    difference = sitk.GetArrayFromImage(ours) - sitk.GetArrayFromImage(theirs)
    assert np.abs(difference).max() <= 0.52  # whole numbers are rounded
    labels = sitk.Resample(oracle(data_folder, MOVING, "seg"), fixed, transform, nearest)
    ours = sitk.Resample(image_from_volume(run.carriedNodes[0]), fixed, still, nearest)
    assert (sitk.GetArrayFromImage(ours) != sitk.GetArrayFromImage(labels)).mean() < 1e-5


def test_the_segmentation_equals_the_label_map(registered):
    label_map, segmentation = registered[0].carriedNodes
    like = image_from_volume(label_map)
    values = sitk.GetArrayFromImage(like)
    segments, found = segmentation.GetSegmentation(), labels_on_grid(segmentation, like)
    assert segments.GetNumberOfSegments() > 100
    for index in range(segments.GetNumberOfSegments()):
        segment = segments.GetNthSegment(index)
        assert np.array_equal(found[segment.GetName()], values == segment.GetLabelValue())


def test_the_steps_end_at_the_result(registered, data_folder):
    run, transform, _ = registered
    fixed = oracle(data_folder, FIXED, "seg")
    inside = np.argwhere(sitk.GetArrayFromImage(fixed) > 0)[::2000, ::-1]
    points = [fixed.TransformIndexToPhysicalPoint(index.tolist()) for index in inside]
    steps = [sitk.DisplacementFieldTransform(sitk.Cast(run.steps[str(n)], sitk.sitkVectorFloat64)) for n in range(4)]
    result = np.array([transform.TransformPoint(point) for point in points])
    apart = [np.linalg.norm([step.TransformPoint(point) for point in points] - result, axis=1) for step in steps]
    assert apart[0].mean() > 1.0  # the alignment alone is millimetres away
    assert apart[3].mean() < 0.5  # fields of 2 mm, to be looked at, against the field of 1 mm


def test_the_jacobian_map_is_simpleitks_on_the_same_field(registered):
    from ULAERegistrationParts.maps import jacobianMap

    run, transform, _ = registered
    node = jacobianMap(run.transformNode)
    # ITK's filter knows no direction; turning everything into the grid's own axes is the same map.
    field = transform.GetDisplacementField()
    turned = sitk.GetArrayFromImage(field) @ np.reshape(field.GetDirection(), (3, 3))
    upright = sitk.GetImageFromArray(turned, isVector=True)
    upright.SetSpacing(field.GetSpacing())
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(upright))
    assert np.allclose(slicer.util.arrayFromVolume(node), expected, atol=1e-3)

"""Bad and odd inputs that a scene can hold are refused or accepted from nodes as from files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from input_cases import CASES, CENTRED, brain

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import read_mask, read_volume
from ULAERegistrationLib.mrml.carrying import carried_along
from ULAERegistrationLib.mrml.labels import mask_image, oriented_image
from ULAERegistrationLib.mrml.transforms import field_from_node
from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume
from ULAERegistrationLib.scan_brain import cut_doubts, find_scan_brain
from ULAERegistrationLib.settings import RegistrationSettings


def node_of(scene, image: sitk.Image, kind: str):
    node = scene.AddNewNodeByClass(kind, "odd")
    set_volume(node, image)
    return node


@pytest.fixture
def undrawn(scene):
    """What "Add" in Slicer's Segment Editor leaves where nothing is drawn."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    node.GetSegmentation().SetSourceRepresentationName("Binary labelmap")
    node.GetSegmentation().AddEmptySegment("Segment_1", "Segment_1")
    return node


def test_a_segmentation_in_which_nothing_is_drawn_is_refused_in_a_sentence(undrawn) -> None:
    transform = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3))
    for use in (lambda: mask_image(undrawn, brain()), lambda: carried_along(undrawn, transform, None, brain())):
        with pytest.raises(RegistrationError, match="Nothing is drawn in regions; draw a segment"):
            use()


def test_a_segment_in_which_nothing_is_drawn_does_not_disturb_the_others(scene, undrawn) -> None:
    drawn = slicer.vtkSegment()
    drawn.SetName("drawn")
    drawn.AddRepresentation("Binary labelmap", oriented_image(sitk.Cast(brain() > 100, sitk.sitkUInt8)))
    undrawn.GetSegmentation().AddSegment(drawn, "drawn")
    assert undrawn.GetSegmentation().GetNumberOfLayers("Binary labelmap") == 2
    covered = sitk.GetArrayFromImage(mask_image(undrawn, brain()))
    assert np.array_equal(covered, sitk.GetArrayFromImage(brain() > 100))


def test_a_grid_transform_that_holds_nothing_yet_is_refused_in_a_sentence(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "new")
    node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
    with pytest.raises(RegistrationError, match="new holds no displacement field"):
        field_from_node(node)


@pytest.mark.parametrize("case", [case for case in CASES if case.in_scene], ids=lambda case: case.what)
def test_a_node_ends_as_the_table_says(scene, tmp_path, case) -> None:
    given = {name: sitk.ReadImage(str(file)) for name, file in case.make(tmp_path).items()}

    def warnings() -> tuple[str, ...]:
        volume = node_of(scene, given.get("fixed", brain()), "vtkMRMLScalarVolumeNode")
        scan = read_volume(image_from_volume(volume), "fixed")
        mask = None
        if "fixed_mask" in given:
            labels = node_of(scene, given["fixed_mask"], "vtkMRMLLabelMapVolumeNode")
            mask = read_mask(mask_image(labels, scan), scan, "fixed")
        found = find_scan_brain(scan, mask, "fixed", RegistrationSettings())
        return found.doubts + cut_doubts(found, CENTRED, "fixed")

    if case.outcome == "refused":
        with pytest.raises(RegistrationError) as caught:
            warnings()
        assert case.says in str(caught.value)
    else:
        assert [case.says in warning for warning in warnings()] == [True] * (case.outcome == "warned")

"""Bad and odd inputs that a scene can hold are refused or accepted from nodes as from files."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
from input_cases import CASES, CENTRED, brain

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import read_mask, read_volume
from ULAERegistrationLib.mrml.labels import mask_image
from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume
from ULAERegistrationLib.scan_brain import cut_doubts, find_scan_brain
from ULAERegistrationLib.settings import RegistrationSettings


def node_of(scene, image: sitk.Image, kind: str):
    node = scene.AddNewNodeByClass(kind, "odd")
    set_volume(node, image)
    return node


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

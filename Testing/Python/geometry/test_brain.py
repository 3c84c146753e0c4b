"""It is seen whether a scan shows a brain alone, a head, or less than a whole brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import RegistrationError, register
from ULAERegistrationLib.geometry.brain import find_brain, looks_unstripped
from ULAERegistrationLib.geometry.canonical import template, template_mask


def never(image: sitk.Image) -> sitk.Image:
    raise AssertionError("a stripped scan needs no extraction")


@pytest.fixture(scope="module")
def head() -> sitk.Image:
    """The template in a bright scalp over a dark skull, in noisy air."""
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(template_mask(), squaredDistance=False, useImageSpacing=True)
    )
    values = sitk.GetArrayFromImage(template()).astype(np.float32)
    values[(distance > 0) & (distance <= 7)] = 25
    values[(distance > 7) & (distance <= 14)] = 220
    values += np.abs(np.random.default_rng(0).normal(0, 5, values.shape))
    image = sitk.GetImageFromArray(values.clip(0, 255).astype(np.uint8))
    image.CopyInformation(template())
    return image


def test_a_stripped_brain_of_the_bodys_size_needs_no_extraction():
    small = sitk.Image(template())
    small.SetSpacing([0.9] * 3)
    assert find_brain(small, never) is None


def test_the_brain_of_a_head_is_what_the_extractor_finds(head):
    assert looks_unstripped(head)
    found = find_brain(head, lambda image: template_mask())
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(template_mask()))


def test_a_large_brain_stays_as_it_is_where_next_to_nothing_lies_far_from_its_mask():
    """Stretched to MNI space a stripped brain is as large as a small head: the extractor decides."""
    asked = []

    def extractor(image: sitk.Image) -> sitk.Image:
        asked.append(image)
        return sitk.BinaryErode(template_mask(), (4, 4, 4))

    assert find_brain(template(), extractor) is None
    assert len(asked) == 1


def test_where_masks_are_to_be_given_a_head_without_one_is_refused(head):
    with pytest.raises(RegistrationError, match="The fixed image shows more than the brain and no mask"):
        register(head, template(), brain="given")

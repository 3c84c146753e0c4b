"""What is no whole T1 brain in its place is unlike the template, and a mirrored one shows it in its halves."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.dataset.sources import VALIDATION_PEOPLE
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.likeness import likeness
from ULAERegistrationLib.quality import HANDEDNESS_LOW, LIKENESS_LOW, OVERLAP_LOW


def canonical(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32) / 255


@pytest.fixture(scope="module")
def average() -> np.ndarray:
    return canonical(template())


def test_the_template_is_like_itself(average):
    found = likeness(average)
    assert found.correlation == pytest.approx(1, abs=1e-6)
    assert found.overlap > OVERLAP_LOW
    assert found.handedness > 0.2


def test_a_mirrored_brain_has_the_same_handedness_with_the_other_sign(average):
    found = likeness(average[::-1])
    assert found.handedness == pytest.approx(-likeness(average).handedness, abs=0.01)
    assert found.correlation > 0.95
    assert found.overlap > OVERLAP_LOW


def test_brightness_does_not_matter(average):
    found = likeness(0.3 * average)
    assert found.correlation == pytest.approx(1, abs=1e-5)
    assert found.overlap == pytest.approx(likeness(average).overlap)


@pytest.mark.parametrize("damage", ["upside down", "without its lower half", "inverted", "noise", "empty"])
def test_what_is_no_whole_brain_in_its_place_is_unlike_the_template(average, damage):
    brain = average > 0
    image = {
        "upside down": average[:, ::-1, ::-1],
        "without its lower half": average * (np.arange(160) >= 75),
        "inverted": (1.1 - average) * brain,
        "noise": np.random.default_rng(0).random(average.shape, np.float32) * brain,
        "empty": np.zeros_like(average),
    }[damage]
    found = likeness(image)
    assert found.correlation < LIKENESS_LOW or found.overlap < OVERLAP_LOW


def test_another_grid_is_refused(average):
    with pytest.raises(ValueError, match="instead of"):
        likeness(average[:, :, 8:])


@pytest.mark.slow
def test_people_whom_nothing_here_was_made_of_are_like_the_template_and_told_from_their_mirror_images(data_folder):
    for person in VALIDATION_PEOPLE:
        brain = canonical(sitk.ReadImage(str(data_folder / "brains" / f"{person}_t1.nii.gz")))
        found, mirrored = likeness(brain), likeness(brain[::-1])
        assert found.correlation > LIKENESS_LOW
        assert found.overlap > OVERLAP_LOW
        assert mirrored.handedness < HANDEDNESS_LOW - 0.1 < HANDEDNESS_LOW + 0.1 < found.handedness

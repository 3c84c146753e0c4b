"""What the network is shown of two scans: the intensities of T1, whatever the scans are; and each scan in its role."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import placement
from ULAERegistrationLib.geometry.alignment import Alignment
from ULAERegistrationLib.geometry.canonical import sample_on_canonical, template, template_mask
from ULAERegistrationLib.placement import Placement, place
from ULAERegistrationLib.progress import silent
from ULAERegistrationLib.settings import AlignmentMethod, RegistrationSettings

APART = sitk.TranslationTransform(3, (40.0, -25.0, 60.0))  # from the fixed scans' world to that of the moving ones


@dataclass(frozen=True)
class Person:
    """A T1, the mask of its brain, and the map from their world to the canonical one."""

    t1: sitk.Image
    mask: sitk.Image
    to_canonical: sitk.AffineTransform

    @cached_property
    def canonical(self) -> np.ndarray:
        """The T1 on the canonical grid."""
        return sample_on_canonical(self.t1, self.to_canonical, self.mask)


class Search(NamedTuple):
    """What a search for the alignment was given, of the fixed scan first."""

    scans: tuple[sitk.Image, sitk.Image]
    masks: tuple[sitk.Image, sitk.Image]
    method: AlignmentMethod


@pytest.fixture(scope="module")
def fixed() -> Person:
    """The template."""
    return Person(template(), template_mask(), sitk.AffineTransform(3))


@pytest.fixture(scope="module")
def moving() -> Person:
    """Another anatomy in another place, narrower, longer and lower, with a mask that lacks its lowest part."""
    squeeze = sitk.ScaleTransform(3, (1.12, 0.95, 1.05))
    squeeze.SetCenter((0.0, 17.0, 5.0))
    t1 = sitk.Resample(template(), template(), squeeze, sitk.sitkLinear)
    mask = sitk.Resample(template_mask(), template(), squeeze, sitk.sitkNearestNeighbor)
    mask[:, :, :50] = 0
    for image in (t1, mask):
        image.SetOrigin(APART.TransformPoint(image.GetOrigin()))
    to_canonical = sitk.AffineTransform(3)
    to_canonical.SetTranslation(APART.GetInverse().TransformPoint((0.0, 0.0, 0.0)))
    return Person(t1, mask, to_canonical)


def as_it_is(t1: sitk.Image) -> sitk.Image:
    return t1


def t2(t1: sitk.Image) -> sitk.Image:
    """The same with bright fluid and dark white matter."""
    values = sitk.GetArrayFromImage(t1)
    image = sitk.GetImageFromArray(np.where(values > 12, 268 - values.astype(int), 0).clip(0, 255).astype(np.uint8))
    image.CopyInformation(t1)
    return image


def flair(t1: sitk.Image) -> sitk.Image:
    """The same with dark fluid and grey matter a little brighter than white matter."""
    values = np.interp(sitk.GetArrayFromImage(t1), (0, 12, 50, 120, 255), (0, 12, 40, 220, 170))
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.CopyInformation(t1)
    return image


def shaded(person: Person) -> sitk.Image:
    """The T1 as a coil at the back shows it, and within its mask so bright that the background says nothing."""
    places = np.arange(person.t1.GetSize()[1]) * person.t1.GetSpacing()[1]
    values = sitk.GetArrayFromImage(person.t1) * 3.0 ** (places[:, None] / 160)
    image = sitk.GetImageFromArray((2000 + values).astype(np.float32))
    image.CopyInformation(person.t1)
    return sitk.Mask(image, person.mask)


def placed(fixed: Person, moving: Person, *scans: sitk.Image, **settings) -> Placement:
    """What is found of two scans of these people: by default where they are known to lie."""
    asked = RegistrationSettings(**{"alignment": "none"} | settings)
    return place(scans, (fixed.mask, moving.mask), asked, APART, silent)


def likeness(image: np.ndarray, t1: np.ndarray) -> float:
    inside = (image > 0.05) & (t1 > 0.05)
    return float(np.corrcoef(image[inside], t1[inside])[0, 1])


def assert_shown_as_t1(found: Placement, fixed: Person, moving: Person) -> None:
    """Each scan is shown with the intensities of T1, as its own brain, to which the other one has a likeness of .82."""
    assert likeness(found.fixed_seen, fixed.canonical) > 0.95
    assert likeness(found.moving_seen, moving.canonical) > 0.95


def test_two_t1_scans_are_shown_as_they_are_each_from_its_own_place_and_with_its_own_mask(fixed, moving) -> None:
    found = placed(fixed, moving, fixed.t1, moving.t1)
    assert found.contrast == "same"
    assert found.both_t1
    for person, scan, seen in ((fixed, found.fixed, found.fixed_seen), (moving, found.moving, found.moving_seen)):
        assert np.array_equal(scan, person.canonical)
        assert np.array_equal(seen, scan)


def test_two_t2_scans_are_of_one_contrast_and_shown_with_the_intensities_of_t1(fixed, moving) -> None:
    found = placed(fixed, moving, t2(fixed.t1), t2(moving.t1))
    assert found.contrast == "same"
    assert likeness(found.fixed, fixed.canonical) < -0.95
    assert likeness(found.moving, moving.canonical) < -0.95
    assert_shown_as_t1(found, fixed, moving)


def test_two_flair_scans_are_of_one_contrast_and_shown_with_the_intensities_of_t1(fixed, moving) -> None:
    found = placed(fixed, moving, flair(fixed.t1), flair(moving.t1))
    assert found.contrast == "same"
    assert likeness(found.fixed, fixed.canonical) < 0.75
    assert likeness(found.moving, moving.canonical) < 0.75
    assert_shown_as_t1(found, fixed, moving)


@pytest.mark.parametrize(
    ("looks", "contrast"),
    [((as_it_is, flair), "same"), ((flair, as_it_is), "same"), ((as_it_is, as_it_is), "different")],
    ids=["a FLAIR taken for T1", "the other one", "two T1 that are said to differ"],
)
def test_both_scans_are_given_the_intensities_of_t1_unless_both_show_them_and_are_of_one_contrast(
    fixed, moving, looks, contrast
) -> None:
    found = placed(fixed, moving, looks[0](fixed.t1), looks[1](moving.t1), contrast=contrast)
    assert not found.both_t1
    assert_shown_as_t1(found, fixed, moving)
    assert not np.array_equal(found.fixed_seen, found.fixed)
    assert not np.array_equal(found.moving_seen, found.moving)


@pytest.fixture
def searches(monkeypatch, fixed, moving) -> list[Search]:
    """Every search for the alignment finds where the scans are known to lie; what is searched with is listed."""
    given: list[Search] = []

    def align(first, second, method, first_mask, second_mask, *_) -> Alignment:
        given.append(Search((first, second), (first_mask, second_mask), method))
        return Alignment(fixed.to_canonical, moving.to_canonical, (), method)

    def align_inside(first, second, alignment, method, *masks) -> Alignment:
        return align(first, second, method, *masks)

    monkeypatch.setattr(placement, "align", align)
    monkeypatch.setattr(placement, "align_inside", align_inside)
    return given


def test_scans_of_two_contrasts_are_aligned_once_more_and_shown_with_the_intensities_of_t1(
    searches, fixed, moving
) -> None:
    scans = (fixed.t1, t2(moving.t1))
    found = placed(fixed, moving, *scans, alignment="affine")
    assert found.contrast == "different"
    assert likeness(found.fixed, fixed.canonical) > 0.95
    assert likeness(found.moving, moving.canonical) < -0.95
    assert_shown_as_t1(found, fixed, moving)
    as_they_are, made_alike = searches
    assert all(one is scan for one, scan in zip(as_they_are.scans, scans, strict=True))
    for person, scan, mask in zip((fixed, moving), made_alike.scans, made_alike.masks, strict=True):
        assert likeness(sample_on_canonical(scan, person.to_canonical, person.mask), person.canonical) > 0.95
        assert mask is person.mask


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_strong_shading_is_taken_from_the_scan_that_has_it_and_the_other_one_stays_as_it_is(
    searches, fixed, moving, role
) -> None:
    scans = {"fixed": fixed.t1, "moving": moving.t1}
    scans[role] = shaded({"fixed": fixed, "moving": moving}[role])
    found = placed(fixed, moving, *scans.values(), alignment="affine")
    assert likeness(found.fixed, fixed.canonical) > 0.95
    assert likeness(found.moving, moving.canonical) > 0.95
    as_they_are, made_even = (dict(zip(("fixed", "moving"), search.scans, strict=True)) for search in searches)
    assert [name for name in scans if as_they_are[name] is scans[name]] == ["fixed", "moving"]
    assert [name for name in scans if made_even[name] is not scans[name]] == [role]


def test_of_one_persons_scans_is_shown_what_lies_in_both_masks_after_a_search_within_them(
    searches, fixed, moving
) -> None:
    t1 = sitk.Image(moving.t1)
    t1.SetOrigin(template().GetOrigin())
    mask = t1 > 12
    mask[:60, :, :] = 0
    before = Person(t1, mask, fixed.to_canonical)
    found = placed(before, moving, t1, moving.t1, alignment="auto")
    assert found.one_person
    assert np.array_equal(found.fixed, before.canonical)
    assert np.array_equal(found.moving, moving.canonical)
    both = (before.canonical > 0) & (moving.canonical > 0)
    assert np.array_equal(found.fixed_seen, before.canonical * both)
    assert np.array_equal(found.moving_seen, moving.canonical * both)
    assert [search.method for search in searches] == ["affine", "rigid"]
    for search in searches:
        assert all(one is scan for one, scan in zip(search.scans, (t1, moving.t1), strict=True))
        assert all(one is own for one, own in zip(search.masks, (mask, moving.mask), strict=True))

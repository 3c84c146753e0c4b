"""Slices that do not fit each other are noticed, and noise and thick slices are not taken for that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import scan_brain
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.slices import slices_alternate
from ULAERegistrationLib.settings import RegistrationSettings


def changed(change: Callable[[np.ndarray], np.ndarray]) -> sitk.Image:
    image = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(template()).astype(np.float32)))
    image.CopyInformation(template())
    return image


def interleaved(values: np.ndarray, axis: int, shift: int) -> np.ndarray:
    """Every second slice lies beside the others."""
    slices = np.moveaxis(values, axis, 0).copy()
    slices[::2] = np.roll(slices, shift, axis=2)[::2]
    return np.moveaxis(slices, 0, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_two_passes_between_which_the_head_has_moved_alternate(axis) -> None:
    assert slices_alternate(changed(lambda values: interleaved(values, axis, 4)), template_mask())


def test_slices_in_a_wrong_order_alternate() -> None:
    def disordered(values: np.ndarray) -> np.ndarray:
        half = len(values) // 2
        return np.stack([values[:half], values[half:]], 1).reshape(values.shape)

    assert slices_alternate(changed(disordered), template_mask())


def test_a_plain_scan_a_noisy_one_and_one_of_thick_slices_do_not() -> None:
    noise = np.random.default_rng(0).normal(0, 60, sitk.GetArrayViewFromImage(template()).shape)
    assert not slices_alternate(template(), template_mask())
    assert not slices_alternate(changed(lambda values: values + noise), template_mask())
    thick, mask = (sitk.BinShrink(image, [1, 1, 5]) for image in (template(), template_mask()))
    assert not slices_alternate(thick, mask)


def test_nothing_in_the_brain_is_no_alternation() -> None:
    assert not slices_alternate(template() * 0, template_mask())
    assert not slices_alternate(template(), template_mask() * 0)


def test_it_is_said_of_the_scan_whose_slices_alternate() -> None:
    scans = (changed(lambda values: interleaved(values, 0, 4)), template())
    found = scan_brain.find_both_brains(scans, (template_mask(), template_mask()), RegistrationSettings())
    assert [len(one.doubts) for one in found] == [1, 0]
    assert "Slices of the fixed image that lie next to each other differ" in found[0].doubts[0]


def test_no_brain_of_real_people_is_doubted(data_folder) -> None:
    for path in sorted((data_folder / "brains").glob("*_t1.nii.gz"))[::4]:
        scan = sitk.ReadImage(str(path))
        assert not slices_alternate(scan, scan > 0), path.name

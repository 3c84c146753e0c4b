"""A scan is given the intensities of T1 in torch as numpy and ITK would give them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib.t1_intensities import DARK, EDGE, INTENSITIES, along, give_t1_intensities, t1_curve
from ULAERegistrationLib.tensors import array_of, tensor_of


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    """Smooth noise in an ellipsoid, on a grid whose three sides differ."""
    random = np.random.default_rng(1)
    values = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(random.random((30, 36, 28))))
    )
    values = (values - values.min()) / (values.max() - values.min())
    radii = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in values.shape), indexing="ij"))
    return np.where((radii**2).sum(0) < 0.8, 0.1 + 0.9 * values, 0).astype(np.float32)


def test_each_intensity_of_a_scan_has_the_mean_of_the_average_brain_there(scan):
    """Far apart, two intensities share no neighbours over which their means are smoothed."""
    two = np.where(scan > 0.5, 0.9, 0.2).astype(np.float32) * (scan > 0)
    average = (0.3 + 0.5 * scan) * (scan > 0)
    curve = t1_curve(tensor_of(two), tensor_of(average))
    for value in (0.2, 0.9):
        expected = average[(two == np.float32(value))].mean()
        assert curve[round(value * (INTENSITIES - 1))].item() == pytest.approx(expected, abs=1e-5)


def test_a_curve_is_looked_up_as_numpy_does():
    random = np.random.default_rng(2)
    curve = random.random(INTENSITIES).astype(np.float32)
    values = np.concatenate([random.random(500), [0, 1, 0.5, -0.1, 1.1]]).astype(np.float32)
    expected = np.interp(values, np.linspace(0, 1, INTENSITIES), curve)
    np.testing.assert_allclose(array_of(along(tensor_of(curve), tensor_of(values))), expected, atol=1e-5)


def test_the_whole_way_is_that_of_numpy_and_itk(scan):
    """The mixture of the darkest and brightest of six neighbours is written with ITK's grey erosion and dilation."""
    average = np.roll(scan, 1, 0) ** 2
    curve = array_of(t1_curve(tensor_of(scan), tensor_of(average)))

    def look_up(values: np.ndarray) -> np.ndarray:
        return np.interp(values, np.linspace(0, 1, INTENSITIES), curve)

    without_background = sitk.GetImageFromArray(np.where(scan > DARK, scan, np.float32(2)))
    eroded = sitk.GetArrayFromImage(sitk.GrayscaleErode(without_background, [1] * 3, sitk.sitkCross))
    darkest = np.minimum(eroded, scan)
    brightest = sitk.GetArrayFromImage(sitk.GrayscaleDilate(sitk.GetImageFromArray(scan), [1] * 3, sitk.sitkCross))
    share = (scan - darkest) / np.maximum(brightest - darkest, 1e-3)
    mapped = np.minimum(look_up(scan), look_up(darkest) * (1 - share) + look_up(brightest) * share)
    both = (scan > DARK / 2) & (average > DARK)
    mapped = (mapped - mapped[both].mean()) * average[both].std() / mapped[both].std() + average[both].mean()
    expected = np.clip(mapped, DARK, 1) * np.clip(scan / EDGE, 0, 1)
    found = array_of(give_t1_intensities(tensor_of(scan), tensor_of(average)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_scan_that_shows_one_intensity_or_lies_elsewhere_has_no_curve(scan):
    one = tensor_of((0.7 * (scan > 0)).astype(np.float32))
    assert t1_curve(one, tensor_of(scan)) is None
    assert give_t1_intensities(one, tensor_of(scan)) is one
    assert t1_curve(tensor_of(scan), torch.zeros(scan.shape)) is None

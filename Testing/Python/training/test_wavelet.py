"""Images of the packed training file come back as they were, up to a rounding that is below their noise."""

from __future__ import annotations

import lzma

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.training import wavelet


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    """A quarter of the template, with as much noise as a scan has."""
    image = sitk.GetArrayFromImage(template()).transpose(2, 1, 0)[::2, 32:160:2, ::2]
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    return (np.rint(image + noise).clip(1, 255) * (image > 0)).astype(np.uint8)


def test_the_brain_stays_where_it_is_and_its_intensities_what_they_are(brain):
    found = wavelet.decode(wavelet.encode(brain))
    assert found.dtype == np.uint8
    assert np.array_equal(found > 0, brain > 0)
    error = (found.astype(float) - brain)[brain > 0]
    assert np.sqrt((error**2).mean()) < 2.5  # of 255; the noise is 6
    assert np.abs(error).max() < 15
    assert abs(error.mean()) < 0.2


def test_without_rounding_every_intensity_comes_back(brain, monkeypatch):
    monkeypatch.setattr(wavelet, "STEPS", (1, 1))
    smooth = (brain // 4).astype(np.uint8)  # details that need no more than 8 bits
    assert np.array_equal(wavelet.decode(wavelet.encode(smooth)), smooth)


def test_it_takes_two_thirds_of_the_bytes_of_7_bits_even_where_noise_is_strong(brain):
    def size(arrays) -> int:
        return sum(len(lzma.compress(np.ascontiguousarray(values).tobytes())) for values in arrays)

    encoded = wavelet.encode(brain)
    assert set(encoded) == set(wavelet.PARTS)
    assert size(encoded.values()) < 0.67 * size([brain >> 1])

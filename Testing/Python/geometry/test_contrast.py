"""Whether two scans have the same contrast is told from the intensities in the brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import sample_on_canonical, template, template_mask
from ULAERegistrationLib.geometry.contrast import (
    SAME_CONTRAST,
    as_t1,
    have_same_contrast,
    intensity_correlation,
    scan_as_t1,
    shows_tissue_as_t1,
)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255


def test_a_brain_brighter_or_steeper_has_the_same_contrast(brain) -> None:
    assert have_same_contrast(brain, 0.5 * brain)
    assert have_same_contrast(brain, brain**1.5)


def test_a_coil_that_brightens_one_side_changes_nothing(brain) -> None:
    near_the_coil = np.exp(np.linspace(-1, 1, brain.shape[1], dtype=np.float32))[:, None]
    assert intensity_correlation(brain, brain * near_the_coil) > 0.8
    mask = sitk.GetArrayFromImage(template_mask()).transpose(2, 1, 0) > 0
    assert intensity_correlation(brain, (1 - brain) * mask * near_the_coil) < -0.5


def test_the_same_anatomy_inverted_has_another(brain) -> None:
    mask = sitk.GetArrayFromImage(template_mask()).transpose(2, 1, 0) > 0
    assert intensity_correlation(brain, (1 - brain) * mask) < -0.9
    assert not have_same_contrast(brain, (1 - brain) * mask)


def test_brains_that_do_not_overlap_are_never_called_alike(brain) -> None:
    assert intensity_correlation(brain, np.zeros_like(brain)) == 0
    assert intensity_correlation(np.ones_like(brain), brain) == 0


def inverted(brain: np.ndarray) -> np.ndarray:
    """Bright fluid and dark white matter, as in T2."""
    return np.where(brain > 0.05, 1.05 - brain, 0).astype(np.float32)


def test_t2_and_flair_are_told_apart_although_both_show_grey_matter_brighter_than_white(brain) -> None:
    """By what is bright and what is dark; their tissue looks alike from place to place."""
    bright = (brain / np.percentile(brain[brain > 0], 99.9)).clip(0, 1)
    flair = np.interp(bright, (0, 0.2, 0.5, 0.9), (0, 0.1, 0.9, 0.5)).astype(np.float32)
    t2 = inverted(bright)
    for scan in (flair, t2):
        assert have_same_contrast(scan, 0.8 * scan)
    assert intensity_correlation(flair, t2) > 2 * SAME_CONTRAST
    assert not have_same_contrast(flair, t2)


def low_contrast_flair(brain: np.ndarray) -> np.ndarray:
    """Dark fluid, and all tissue equally bright."""
    return np.interp(brain, (0, 0.05, 0.25, 0.5, 1), (0, 0.05, 0.2, 0.75, 0.85)).astype(np.float32)


def test_a_t1_shows_grey_matter_between_fluid_and_white_matter_and_no_other_contrast_does(brain) -> None:
    noise = np.random.default_rng(2).normal(0, 0.05, brain.shape) * (brain > 0)
    for scan in (brain, 0.5 * brain, brain**1.4, brain + noise, np.repeat(brain[..., ::4], 4, axis=2)):
        assert shows_tissue_as_t1(scan.astype(np.float32))
    for scan in (low_contrast_flair(brain), low_contrast_flair(brain) + noise, inverted(brain)):
        assert not shows_tissue_as_t1(scan.astype(np.float32))


def test_what_shows_no_tissue_is_no_t1(brain) -> None:
    for image in (np.zeros_like(brain), 0.7 * (brain > 0.05), np.roll(brain, 80, 0) * (brain == 0)):
        assert not shows_tissue_as_t1(image.astype(np.float32))


@pytest.mark.parametrize("contrast", [lambda brain: brain, inverted, lambda brain: brain * (1.6 - brain)])
def test_a_scan_of_any_contrast_gets_the_intensities_of_t1(brain, contrast) -> None:
    mapped = as_t1(contrast(brain))
    inside = brain > 0.1
    assert np.corrcoef(mapped[inside], brain[inside])[0, 1] > 0.9
    assert (mapped[contrast(brain) == 0] == 0).all()
    assert 0 <= mapped.min() <= mapped.max() <= 1


def test_t1_is_hardly_changed_when_it_lies_a_little_off(brain) -> None:
    """The alignment is never exact, which draws the means of all intensities together; the stretching undoes this."""
    shifted = np.roll(brain, (2, 3, -2), (0, 1, 2))
    inside = shifted > 0.2
    assert np.abs(as_t1(shifted) - shifted / np.percentile(brain[brain > 0], 99.9))[inside].mean() < 0.06


def test_what_is_no_brain_stays_as_it_is(brain) -> None:
    for image in (np.zeros_like(brain), 0.7 * (brain > 0.05)):
        assert np.array_equal(as_t1(image), image)


def test_a_scan_gets_the_intensities_of_t1_on_its_own_grid(brain) -> None:
    """Oblique, anisotropic and left-handed."""
    turn = sitk.AffineTransform(3)
    turn.Rotate(0, 1, 0.3)
    turn.Translate((5.0, -3.0, 4.0))
    grid = sitk.Image(110, 120, 70, sitk.sitkFloat32)
    grid.SetSpacing((1.6, 1.7, 2.5))
    grid.SetDirection(np.diag([-1, 1, 1]).ravel().tolist())
    grid.SetOrigin((90.0, -110.0, -80.0))
    average = sitk.GetImageFromArray(inverted(brain).transpose(2, 1, 0))
    average.CopyInformation(template())
    scan = sitk.Resample(average, grid, turn)
    canonical = sample_on_canonical(scan, turn)
    mapped = scan_as_t1(scan, canonical, turn)
    expected = sitk.Resample(sitk.Cast(template(), sitk.sitkFloat32), grid, turn)
    found, wanted = (sitk.GetArrayFromImage(image) for image in (mapped, expected))
    assert mapped.GetSize() == grid.GetSize()
    assert mapped.GetDirection() == grid.GetDirection()
    inside = wanted > 30
    assert np.corrcoef(found[inside], wanted[inside])[0, 1] > 0.9


def test_between_fluid_and_cortex_flair_does_not_become_white_matter(brain) -> None:
    """A voxel that both share has the intensity of white matter there."""
    tissue = np.digitize(brain, (0.05, 0.3, 0.55))  # background, fluid, cortex, white matter
    sharp = np.array([0, 0.15, 0.8, 0.65], np.float32)[tissue]
    flair = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(sharp), 0.6))

    def near(number: int, voxels: int) -> np.ndarray:
        region = sitk.GetImageFromArray((tissue == number).astype(np.uint8))
        return sitk.GetArrayFromImage(sitk.BinaryDilate(region, [voxels] * 3)) > 0

    shared = near(1, 1) & near(2, 1) & ~near(3, 3) & ~near(0, 3) & (abs(flair - 0.65) < 0.05)
    mapped = as_t1(flair)
    cortex, white = (
        np.median(mapped[(tissue == number) & (abs(flair - value) < 0.02)]) for number, value in ((2, 0.8), (3, 0.65))
    )
    assert shared.sum() > 500
    assert white > cortex + 0.1
    assert (mapped[shared] > (cortex + white) / 2).mean() < 0.05

"""Training pairs: brains that are moved, flipped and recoloured, with their labels, and brains that are painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ULAERegistrationLib.flows.warp import warp
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.frame import CANONICAL_SIZE
from ULAERegistrationLib.training import augmentation
from ULAERegistrationLib.training.augmentation import Augmentation
from ULAERegistrationLib.training.contrasts import T1_LEVELS, mean_slices, recolour
from ULAERegistrationLib.training.synthesis import MEAN_SPREAD, TISSUES, synthesise, tissues


def test_augmentation_moves_flips_and_recolours_but_keeps_the_range():
    generator = torch.Generator().manual_seed(3)
    image = F.interpolate(torch.rand(1, 1, 6, 6, 6, generator=generator), size=(48, 48, 48), mode="trilinear")
    flips = 0
    for _ in range(12):
        pair = Augmentation(noise=0)(fixed=image, moving=image.clone(), random=generator)
        assert pair.flow is None
        assert pair.moving.shape == pair.fixed.shape == image.shape
        assert min(pair.moving.min(), pair.fixed.min()) >= 0
        assert max(pair.moving.max(), pair.fixed.max()) <= 1
        assert not torch.equal(pair.moving, pair.fixed)
        correlation = [
            torch.corrcoef(torch.stack([pair.fixed.flatten(), x.flatten()]))[0, 1] for x in (image, image.flip(2))
        ]
        flips += int(correlation[1] > correlation[0])
    assert 2 <= flips <= 10


@pytest.mark.parametrize(
    ("name", "strength", "changed"),
    [
        ("residual_rotation", 5.0, {"moving"}),
        ("residual_scale", 0.1, {"moving"}),
        ("residual_shift", 0.05, {"moving"}),
        ("elastic", 0.05, {"fixed", "moving"}),
        ("gamma", 0.3, {"fixed", "moving"}),
        ("bias", 0.3, {"fixed", "moving"}),
        ("noise", 0.05, {"fixed", "moving"}),
        ("blur", 1.0, {"fixed", "moving"}),
        ("shared_rotation", 0.0, {"fixed", "moving"}),
        ("shared_scale", 0.0, {"fixed", "moving"}),
        ("shared_shift", 0.0, {"fixed", "moving"}),
    ],
)
def test_each_random_change_alone_is_seen(still, name, strength, changed):
    generator = torch.Generator().manual_seed(3)
    image = F.interpolate(torch.rand(1, 1, 8, 8, 8, generator=generator), size=(24, 24, 24), mode="trilinear")
    plain, pair = (
        augmentation(fixed=image, moving=image.clone(), random=torch.Generator().manual_seed(1))
        for augmentation in (still, replace(still, **{name: strength}))
    )
    differences = {role: (getattr(pair, role) - getattr(plain, role)).abs().mean() for role in ("fixed", "moving")}
    assert {role for role, difference in differences.items() if difference > 0.005} == changed
    assert all(differences[role] == 0 for role in differences.keys() - changed)
    both_alike = name.startswith("shared")  # such a change is one for both images
    assert torch.equal(pair.fixed, pair.moving) == both_alike


def test_identical_pairs_are_one_person_who_keeps_still(still):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 1, 16, 16, 16, generator=generator)
    pair = replace(still, identical=1, elastic=0.02)(fixed=image, moving=image, random=generator)
    torch.testing.assert_close(pair.moving, pair.fixed)
    assert not pair.flow.any()


def test_the_known_flow_of_one_brain_warps_it_onto_its_deformation(still):
    generator = torch.Generator().manual_seed(4)
    image = F.interpolate(torch.rand(1, 1, 8, 9, 8, generator=generator), size=(48, 64, 48), mode="trilinear")
    pair = replace(still, known=1, elastic=0.04, residual_rotation=6, residual_shift=0.05)(
        fixed=image, moving=image, random=generator
    )
    inner = (slice(None), slice(None), *[slice(8, -8)] * 3)
    before = (pair.moving - pair.fixed)[inner].abs().mean()
    after = (warp(pair.moving, pair.flow) - pair.fixed)[inner].abs().mean()
    assert pair.flow.abs().max() > 1
    assert after < 0.1 * before


def test_augmentation_moves_labels_as_it_moves_their_image():
    generator = torch.Generator().manual_seed(4)
    blobs = F.interpolate(torch.rand(1, 1, 6, 6, 6, generator=generator), size=(48, 64, 48), mode="trilinear")
    image, labels = blobs, (blobs > 0.5).float()
    augmentation = Augmentation(gamma=0, bias=0, noise=0, blur=0, identical=0, known=0)
    pair = augmentation(fixed=image, moving=image.clone(), random=generator, labels=(labels, labels))
    for warped, warped_labels in ((pair.moving, pair.moving_labels), (pair.fixed, pair.fixed_labels)):
        agreement = ((warped > 0.5) == (warped_labels > 0)).float().mean()
        assert agreement > 0.95
    assert not torch.equal(pair.moving_labels, pair.fixed_labels)


def tissues_of_t1() -> torch.Tensor:
    """A stripped T1 image of three tissues: fluid, grey matter and white matter in layers, background around them."""
    image = torch.zeros(1, 1, 64, 64, 64)
    for edge, level in zip((8, 16, 24), T1_LEVELS, strict=True):
        image[..., edge:-edge, edge:-edge, edge:-edge] = level
    return image


def test_a_recoloured_image_shows_each_tissue_in_an_intensity_of_its_own_and_background_as_0():
    image = tissues_of_t1()
    orders = set()
    for seed in range(12):
        recoloured = recolour(image, torch.Generator().manual_seed(seed))
        assert recoloured.shape == image.shape
        assert 0 <= recoloured.min() <= recoloured.max() <= 1
        assert recoloured[image == 0].mean() < 0.1 * recoloured.max()
        middle = recoloured[0, 0, 32, 32, [12, 20, 32]]
        orders.add(tuple(middle.argsort().tolist()))
    assert len(orders) >= 3


def test_only_what_the_network_sees_is_another_contrast(still):
    image = tissues_of_t1()
    pairs = [
        augmentation(fixed=image, moving=image.clone(), random=torch.Generator().manual_seed(1), average=image)
        for augmentation in (still, replace(still, contrasts=1.0))
    ]
    plain, shown = pairs
    assert torch.equal(shown.fixed, plain.fixed)
    assert torch.equal(shown.moving, plain.moving)
    assert plain.seen_fixed is plain.fixed
    assert not torch.allclose(shown.seen_fixed, shown.fixed, atol=0.05)
    assert not torch.allclose(shown.seen_fixed, shown.seen_moving, atol=0.05)


def test_another_contrast_is_seen_with_the_intensities_of_t1(still):
    """Of most contrasts the order of the tissues is T1's again, which recolouring alone changes."""
    image = tissues_of_t1()
    in_order = []
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        pair = replace(still, contrasts=1.0)(fixed=image, moving=image.clone(), random=random, average=image)
        assert 0 <= pair.seen_moving.min() <= pair.seen_moving.max() <= 1
        fluid, grey, white = (pair.seen_moving[(pair.moving - level).abs() < 0.02].mean() for level in T1_LEVELS)
        in_order.append(bool(fluid < grey < white))
    assert sum(in_order) >= 15


def test_tissues_of_one_t1_intensity_differ_from_place_to_place_in_another_contrast():
    """In real FLAIR scans white matter varies by .06 of full scale and fluid by .2, where T1 shows one intensity."""
    image = tissues_of_t1()
    spreads = []
    for seed in range(20):
        recoloured = recolour(image, torch.Generator().manual_seed(seed))
        spreads.append([recoloured[image == level].std().item() for level in T1_LEVELS])
    fluid, grey, white = np.median(spreads, axis=0)
    assert fluid > grey > white > 0.01


@pytest.mark.parametrize("noisier", [1.0, 3.5])
def test_the_scanner_of_another_contrast_has_noise_of_its_own(still, monkeypatch, noisier):
    """Of an image whose intensities neither the contrast nor the curve back to T1 changes, noise alone is left."""
    monkeypatch.setattr(augmentation, "NOISIER", (noisier, noisier))
    monkeypatch.setattr(augmentation, "recolour", lambda image, random: image)
    monkeypatch.setattr(augmentation, "give_t1_intensities", lambda image, average: image)
    image = torch.full((1, 1, 24, 24, 24), 0.5)
    noisy = replace(still, contrasts=1.0, noise=0.02, shared_rotation=0, shared_scale=0, shared_shift=0)
    pair = noisy(fixed=image, moving=image.clone(), random=torch.Generator().manual_seed(1), average=image)
    assert pair.moving.std().item() == pytest.approx(0.02, rel=0.05)
    assert (pair.seen_moving - pair.moving).std().item() == pytest.approx(0.02 * noisier, rel=0.05)


def test_a_tissue_has_another_mean_in_every_painted_image():
    generator = torch.Generator().manual_seed(1)
    cortex = torch.full((8, 8, 8), 2, dtype=torch.uint8)
    means = [synthesise(cortex, generator)[..., 2:-2, 2:-2, 2:-2].mean().item() for _ in range(200)]
    assert np.mean(means) == pytest.approx(TISSUES[1][0], abs=0.01)
    assert np.std(means) == pytest.approx(MEAN_SPREAD, rel=0.2)


@pytest.mark.slow
def test_a_real_head_becomes_a_stripped_t1_brain_in_the_canonical_frame(data_folder):
    """It correlates with the average brain, its tissues rank as in T1, and no two paintings are the same."""
    head = sitk.ReadImage(str(data_folder / "labelmaps" / "head_01.nii.gz"))
    tissue = torch.from_numpy(np.ascontiguousarray(tissues(head)))
    assert tissue.shape == CANONICAL_SIZE
    generator = torch.Generator().manual_seed(1)
    image = synthesise(tissue, generator)[0, 0]
    average = torch.from_numpy(sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32))
    assert torch.corrcoef(torch.stack([image.flatten(), average.flatten()]))[0, 1] > 0.85
    white, cortex, ventricle = (image[tissue == n].mean() for n in (1, 2, 3))
    assert white > cortex + 0.15
    assert cortex > ventricle + 0.1
    assert image[tissue == 0].mean() < 0.02
    assert not torch.equal(image, synthesise(tissue, generator)[0, 0])


def test_no_label_is_two_tissues():
    members = [label for _, labels in TISSUES for label in labels]
    assert len(members) == len(set(members))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [2, 3, 4, 5])
def test_thick_slices_stay_where_they_are(axis, thickness) -> None:
    """On a ramp, which an average over slices leaves as it is; the last slice of a side may be a part of one."""
    sides = [32, 40, 36]
    ramp = torch.arange(sides[axis], dtype=torch.float32)
    image = ramp.view([1, 1, *[-1 if k == axis else 1 for k in range(3)]]).expand(1, 1, *sides).contiguous()
    sliced = mean_slices(image, thickness, axis)
    assert sliced.shape == image.shape
    inner = slice(thickness, sides[axis] - 2 * thickness)  # beyond it, the border's slice has no neighbour
    found, expected = (values.movedim(2 + axis, 0)[inner].flatten(1) for values in (sliced, image))
    assert (found - expected).abs().max() < 1e-4
    noise = torch.rand(1, 1, *sides, generator=torch.Generator().manual_seed(0))
    assert mean_slices(noise, thickness, axis).var() < 0.7 * noise.var()

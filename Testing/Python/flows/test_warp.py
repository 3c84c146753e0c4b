"""A flow pulls back, in voxels, and composes as the paper's equation 2 says; SimpleITK is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from ULAERegistrationLib.flows.sampling import coordinates
from ULAERegistrationLib.flows.warp import (
    compose,
    compose_all,
    downsample_image,
    resample_flow,
    resize_flow,
    upsample_flow,
    warp,
)

SIZE = (20, 18, 16)


def smooth_noise(channels: int, spread: float, seed: int, size: tuple[int, ...] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 4, 4, 4, generator=generator) * spread
    return F.interpolate(coarse, size=size, mode="trilinear", align_corners=True)


def itk_image(array: Tensor) -> sitk.Image:
    """`[1, C, L, P, S]` as an ITK image with x, y, z along L, P, S."""
    values = array[0].permute(3, 2, 1, 0).numpy().astype(np.float64)
    return sitk.GetImageFromArray(values[..., 0] if array.shape[1] == 1 else values, isVector=array.shape[1] > 1)


def itk_warp(image: Tensor, flow: Tensor, interpolator: int = sitk.sitkLinear) -> np.ndarray:
    transform = sitk.DisplacementFieldTransform(itk_image(flow))
    warped = sitk.Resample(itk_image(image), transform, interpolator, 0.0)
    return sitk.GetArrayFromImage(warped).transpose(2, 1, 0)


def test_a_warp_is_simpleitks_resampling_through_the_same_displacements():
    image, flow = smooth_noise(1, 1, seed=1), smooth_noise(3, 1.5, seed=2)
    inside = (slice(3, -3),) * 3
    np.testing.assert_allclose(
        warp(image, flow)[0, 0].numpy()[inside], itk_warp(image, flow)[inside], rtol=0, atol=1e-4
    )


def test_labels_are_warped_by_nearest_neighbour():
    labels = (smooth_noise(1, 3, seed=3)).round().abs()
    flow = smooth_noise(3, 1.5, seed=4)
    warped = warp(labels, flow, mode="nearest")
    assert set(warped.unique().tolist()) <= {*labels.unique().tolist(), 0.0}
    inside = (slice(3, -3),) * 3
    expected = itk_warp(labels, flow, sitk.sitkNearestNeighbor)
    assert (warped[0, 0].numpy()[inside] == expected[inside]).mean() > 0.999  # ties round differently


def voxel_places() -> torch.Tensor:
    """The coordinates of each voxel, [1, 3, L, P, S]."""
    return torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij"))[None]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_channel_c_moves_along_axis_c(axis):
    image = voxel_places()[:, axis : axis + 1]
    flow = torch.zeros(1, 3, *SIZE)
    flow[:, axis] = 2.0
    inside = (slice(None), slice(None), *(slice(4, -4),) * 3)
    torch.testing.assert_close(warp(image, flow)[inside], image[inside] + 2, rtol=0, atol=1e-4)


def test_composing_equals_warping_twice():
    first, second = smooth_noise(3, 0.6, seed=6), smooth_noise(3, 0.6, seed=7)
    # On a field that is linear in the position both ways are exact, so nothing but the order can differ.
    ramp = voxel_places()
    twice = warp(warp(ramp, first, "border"), second, "border")
    once = ramp + compose(first, second)
    inside = (slice(None), slice(None), *(slice(4, -4),) * 3)
    torch.testing.assert_close(once[inside], twice[inside], atol=1e-4, rtol=0)
    swapped = ramp + compose(second, first)
    assert (once - swapped)[inside].abs().max() > 0.05


def test_a_part_of_a_grid_is_warped_and_composed_as_the_whole():
    image, first, second = smooth_noise(1, 1, seed=5), smooth_noise(3, 0.6, seed=6), smooth_noise(3, 0.6, seed=7)
    part = (slice(None), slice(None), slice(3, 9), slice(2, 7), slice(5, None))
    origin = (3, 2, 5)
    torch.testing.assert_close(warp(image, first[part], origin=origin), warp(image, first)[part])
    torch.testing.assert_close(compose(first, second[part], origin), compose(first, second)[part])


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_a_warp_is_the_same_with_and_without_gradients(padding):
    """Without, it is computed from planes, whose rows are counted in float32."""
    image, flow = smooth_noise(2, 1, seed=1), smooth_noise(3, 2.5, seed=2)
    planes, origin = flow[:, :, 1:], (1, 0, 0)
    whole = warp(image.clone().requires_grad_(), planes, padding, origin=origin)
    assert whole.requires_grad
    torch.testing.assert_close(warp(image, planes, padding, origin=origin), whole.detach(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", [(70, 192, 160), (2, 3, 4), (40, 2, 8), (9, 7, 2)])
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_planes_are_sampled_as_volumes_are_within_thousandths_of_a_voxel(size, padding):
    """The image is the number of each voxel along an axis; what lies outside is zero, or as at its edge."""
    image = 1 + torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))[None]
    part = (min(size[0], 6), min(size[1], 20), min(size[2], 30))
    flow = torch.cat([smooth_noise(1, 0.8 * n, seed=n, size=part) for n in size], 1)
    found = warp(image, flow, padding)
    with torch.enable_grad():
        expected = warp(image.requires_grad_(), flow, padding).detach()
    assert (expected > 1).any()
    # At the edge it falls from its value to zero within a voxel.
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3 if padding == "border" else 2e-3 * max(size))
    if padding == "zeros":
        places = zip(coordinates(flow, (0, 0, 0)), size, strict=True)
        beyond = torch.stack([(place < -1.01) | (place > n + 0.01) for place, n in places]).any(0)
        assert beyond.any()
        assert not found[beyond.expand_as(found)].any()


def test_a_flow_that_is_no_number_somewhere_leaves_the_other_voxels_alone():
    image, flow = smooth_noise(1, 1, seed=3), smooth_noise(3, 1.5, seed=4)
    broken = flow.clone()
    broken[0, 0, 4, 5, 6] = torch.nan
    expected, found = warp(image, flow), warp(image, broken)
    assert found.isnan().sum() == found[0, 0, 4, 5, 6].isnan().sum() == 1
    torch.testing.assert_close(found.nan_to_num(0), expected.where(~found.isnan(), 0), rtol=0, atol=2e-4)


def test_composing_follows_simpleitks_composite_transform():
    flows = [smooth_noise(3, 0.6, seed=seed) for seed in (8, 9, 10)]
    total = compose_all(flows)
    chain = sitk.CompositeTransform([sitk.DisplacementFieldTransform(itk_image(flow)) for flow in flows])
    for voxel in [(9, 8, 7), (5, 10, 9), (12, 6, 8)]:
        found = np.array(voxel) + total[0, :, voxel[0], voxel[1], voxel[2]].numpy()
        np.testing.assert_allclose(found, chain.TransformPoint([float(v) for v in voxel]), atol=1e-4)


def test_a_resized_flow_is_measured_in_the_new_grids_voxels():
    flow = torch.zeros(1, 3, 10, 9, 8)
    flow[:, 0], flow[:, 1], flow[:, 2] = 1.0, 2.0, 3.0
    resized = resize_flow(flow, (20, 18, 16))
    assert resized.shape == (1, 3, 20, 18, 16)
    assert resized[0, :, 5, 5, 5].tolist() == [2.0, 4.0, 6.0]


def test_a_resampled_flow_moves_points_as_the_first_one_does():
    """A linear map, which trilinear interpolation keeps: its flow on the other grid is known exactly."""

    def linear_flow(size: tuple[int, int, int]) -> torch.Tensor:
        """x -> 1.5 x, y -> y + 0.2 x, z -> z + 1 in units of the grid's extent."""
        x = torch.linspace(0, 1, size[0]).view(-1, 1, 1).expand(size)
        extents = torch.tensor(size).view(3, 1, 1, 1) - 1
        return (torch.stack([0.5 * x, 0.2 * x, torch.ones(size)]) * extents)[None]

    for size in [(20, 18, 16), (5, 6, 12)]:
        torch.testing.assert_close(resample_flow(linear_flow((10, 9, 8)), size), linear_flow(size))


def test_a_flow_found_on_block_means_warps_the_full_image_alike():
    size = (64, 64, 64)
    image = smooth_noise(1, 1, seed=11, size=size)
    coarse_flow = smooth_noise(3, 0.8, seed=12, size=(32, 32, 32))
    coarse = warp(downsample_image(image, 2), coarse_flow, "border")
    full = warp(image, upsample_flow(coarse_flow, 2, size), "border")
    difference = (downsample_image(full, 2) - coarse)[:, :, 3:-3, 3:-3, 3:-3].abs()
    assert difference.mean() < 0.001 * image.abs().max()
    assert difference.max() < 0.03 * image.abs().max()


def test_a_downsample_image_grid_divides_by_sixteen_and_grows_back():
    image = torch.rand(1, 1, 160, 192, 160)
    coarse = downsample_image(image, 4)
    assert coarse.shape == (1, 1, 48, 48, 48)
    assert coarse[..., 40:].abs().max() == 0
    assert upsample_flow(torch.zeros(1, 3, 48, 48, 48), 4, (160, 192, 160)).shape == (1, 3, 160, 192, 160)


def test_slabs_give_what_one_piece_gives():
    image, flow = smooth_noise(2, 1, seed=13), smooth_noise(3, 1.5, seed=14)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = warp(image, flow)
        torch.set_num_threads(2)
        assert torch.equal(warp(image, flow), whole)
    finally:
        torch.set_num_threads(threads)

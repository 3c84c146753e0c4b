"""Upsampling, plane by plane and inside a convolution, gives what torch gives for the whole grid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ULAERegistrationLib.network.fast.slabs import Normalised, statistics, stored
from ULAERegistrationLib.network.fast.upsampling import convolved_finer, upsampled
from ULAERegistrationLib.network.ulaenet import LEAK

GRIDS = [(2, 2, 2), (3, 4, 5), (7, 6, 4), (20, 24, 20), (41, 3, 9)]


def features(channels: int, size: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(sum(size)))


def whole(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="trilinear", align_corners=True)


@pytest.mark.parametrize("coarse", GRIDS)
def test_planes_of_an_upsampled_flow_are_those_of_the_whole(coarse):
    x, size = features(3, coarse), tuple(2 * n for n in coarse)
    source = upsampled(stored(x), torch.Size(size))
    for start, stop in ((0, 1), (1, size[0]), (size[0] - 2, size[0])):
        torch.testing.assert_close(source.planes(start, stop), whole(x, size)[:, :, start:stop])


@pytest.mark.parametrize("slab_bytes", [1, 100_000, 12 * 2**20])
@pytest.mark.parametrize("coarse", GRIDS)
def test_a_block_on_upsampled_features_is_the_plain_block(coarse, slab_bytes, monkeypatch):
    """Upsample, join, convolve, normalise, rectify, as the plain network does; however thin the slabs."""
    monkeypatch.setattr("ULAERegistrationLib.network.fast.slabs.SLAB_BYTES", slab_bytes)
    size = tuple(2 * n for n in coarse)
    below, skip, images = features(6, coarse), features(4, size), features(2, size)
    weight = torch.randn(5, 12, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 12

    def plain(x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(F.instance_norm(x), LEAK)

    joined = torch.cat([whole(plain(below), size), plain(skip), images], 1)
    expected = plain(F.conv3d(joined, weight, padding=1))
    sources = [Normalised(x, *statistics(x)) for x in (below, skip)]
    found = convolved_finer(*sources, stored(images), weight=weight)
    assert found.size == size
    torch.testing.assert_close(found.planes(0, size[0]), expected, atol=2e-5, rtol=1e-4)

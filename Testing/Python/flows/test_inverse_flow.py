"""The inverse of a flow, against ITK's own inversion of displacement fields."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib.flows.inverse import invert_flow, invert_flow_around, sample_at
from ULAERegistrationLib.flows.warp import warp


def waves(size: tuple[int, int, int], height: float) -> torch.Tensor:
    """A smooth flow that fades to zero at the border, `[1, 3, L, P, S]`; its largest value is about `height` voxels."""
    x, y, z = torch.meshgrid(*(torch.linspace(0, torch.pi, n) for n in size), indexing="ij")
    fade = torch.sin(x) * torch.sin(y) * torch.sin(z)
    return height * fade * torch.stack([torch.sin(2 * y), torch.cos(3 * z), torch.sin(2 * x + z)])[None]


@pytest.mark.parametrize("size", [(40, 44, 48), (70, 61, 67)])
def test_a_flow_and_its_inverse_cancel(size) -> None:
    flow = waves(size, 4.0)
    inverse = invert_flow(flow)
    remaining = (warp(flow, inverse) + inverse).norm(dim=1)
    assert flow.norm(dim=1).max() > 3
    assert remaining.max() < 0.05


@pytest.mark.parametrize("size", [(80, 80, 2), (2, 300, 3), (70, 1, 70)])
def test_a_grid_that_is_thin_along_an_axis_is_inverted_too(size) -> None:
    flow = torch.zeros(1, 3, *size)
    longest = size.index(max(size))
    flow[:, longest] = 2.0
    inner = invert_flow(flow)[:, longest].narrow(longest + 1, 10, 50)
    torch.testing.assert_close(inner, torch.full_like(inner, -2.0), rtol=0, atol=1e-3)


def test_the_inverse_is_the_one_that_itk_finds() -> None:
    flow = waves((40, 44, 48), 2.0)
    field = sitk.GetImageFromArray(flow[0].permute(3, 2, 1, 0).double().numpy(), isVector=True)
    theirs = sitk.InvertDisplacementField(
        field, maximumNumberOfIterations=100, maxErrorToleranceThreshold=0.001, meanErrorToleranceThreshold=0.0001
    )
    apart = np.abs(invert_flow(flow)[0].numpy() - sitk.GetArrayFromImage(theirs).transpose(3, 2, 1, 0))
    assert apart[:, 4:-4, 4:-4, 4:-4].max() < 0.05


def test_large_shears_that_do_not_contract_are_inverted_too() -> None:
    """The flow's derivative exceeds 1, where plain fixed-point iteration oscillates; the map does not fold."""
    flow = torch.zeros(1, 3, 64, 64, 64)
    y = torch.linspace(0, 4 * torch.pi, 64)
    flow[0, 0] = (6 * torch.sin(y))[None, :, None]  # slope 1.2 along P, of the displacement along L
    flow *= torch.sin(torch.linspace(0, torch.pi, 64)).view(1, 1, 64, 1, 1) ** 0.25
    inverse = invert_flow(flow)
    remaining = (warp(flow, inverse) + inverse).norm(dim=1)[0, 10:-10, 4:-4, 4:-4]
    assert remaining.max() < 0.1


def test_where_the_map_folds_the_result_stays_as_small_as_the_flow() -> None:
    flow = 3 * torch.randn(1, 3, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    assert invert_flow(flow).norm(dim=1).max() < 2 * flow.norm(dim=1).max()


def test_no_flow_has_no_inverse_flow() -> None:
    assert not invert_flow(torch.zeros(1, 3, 20, 20, 20)).any()


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_around_points_the_inverse_is_that_of_the_whole_grid_interpolated(strength) -> None:
    grid = torch.stack(torch.meshgrid(*[torch.linspace(0, 3, n) for n in (70, 66, 40)], indexing="ij"))
    flow = strength * torch.stack([grid[1].sin(), grid[2].cos(), grid.sum(0).sin()])[None]
    points = 4 + torch.rand(1, 3, 500) * (torch.tensor(flow.shape[2:]).view(1, 3, 1) - 9)
    whole = sample_at(invert_flow(flow), points)
    torch.testing.assert_close(invert_flow_around(flow, points), whole, rtol=0, atol=0.02)
    assert whole.abs().max() > 0.9 * strength - 1e-6

"""What training lowers: similarity over three windows, smoothness, folds, known flows and labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ULAERegistrationLib.flows.similarity import local_ncc
from ULAERegistrationLib.training.losses import flow_error, folding, label_distance, multi_window_loss, smoothness


def test_flow_error_counts_the_brain_alone():
    flow = torch.zeros(1, 3, 8, 8, 8)
    brain = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    brain[..., :4] = True
    known = torch.where(brain, 2.0, 50.0).expand(1, 3, 8, 8, 8)
    assert flow_error(flow, known, brain).item() == pytest.approx(3 * 2.0**2)


@pytest.mark.slow
def test_smoothness_is_the_mean_squared_forward_difference():
    from monai.losses import DiffusionLoss  # takes seconds to import

    flow = torch.rand(1, 3, 12, 13, 14)
    expected = sum(np.mean(np.diff(flow.numpy(), axis=axis) ** 2) for axis in (2, 3, 4)) / 3
    assert smoothness(flow).item() == pytest.approx(expected, rel=1e-5)
    ramp = torch.zeros(1, 3, 12, 12, 12)
    ramp[:, 0] = 0.3 * torch.arange(12.0).view(12, 1, 1)
    # MONAI sums over the three derivatives where the paper's code takes their mean.
    assert smoothness(ramp).item() == pytest.approx(DiffusionLoss()(ramp).item() / 3, rel=1e-5)


def test_later_windows_weigh_half_as_much():
    fixed, moving = (torch.rand(1, 1, 5, 5, 5).repeat_interleave(4, 4) for _ in range(2))
    first, second, third = (local_ncc(fixed, moving, window) for window in (9, 5, 3))
    expected = -(first + second / 2 + third / 4)
    torch.testing.assert_close(multi_window_loss(fixed, moving, (9, 5, 3)), expected)
    assert abs(multi_window_loss(fixed, moving, (3, 5, 9)) - expected) > 0.01


def test_only_a_fold_is_penalised():
    """By how far the determinant is below zero: neither no change nor shrinking to an eighth is a fold."""
    places = torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij"))[None]
    assert folding(torch.zeros(1, 3, 8, 8, 8)) == folding(-0.5 * places) == 0
    assert folding(places * torch.tensor([-1.5, 0, 0]).view(1, 3, 1, 1, 1)).item() == pytest.approx(0.5)


def test_label_distance_is_one_minus_dice_of_the_warped_labels():
    """Two boxes overlap by half, and wholly after the right shift; a label in neither map is matched by nothing."""
    fixed, moving = torch.zeros(2, 1, 1, 32, 32, 32).unbind(0)
    moving[..., 8:16, 8:16, 8:16] = 7
    fixed[..., 12:20, 8:16, 8:16] = 7
    still = torch.zeros(1, 3, 32, 32, 32)
    assert label_distance(still, fixed_labels=fixed, moving_labels=moving, chosen=[7]).item() == pytest.approx(0.5)
    right = still.clone()
    right[:, 0] = -4
    assert label_distance(right, fixed_labels=fixed, moving_labels=moving, chosen=[7]).item() == pytest.approx(
        0, abs=1e-5
    )
    assert label_distance(right, fixed_labels=fixed, moving_labels=moving, chosen=[7, 9]).item() == pytest.approx(
        0.5, abs=1e-5
    )


def test_label_distance_is_the_mean_over_its_grids():
    labels = torch.zeros(1, 1, 32, 32, 32)
    labels[..., 8:17, 9:20, 8:17] = 1
    moved = labels.roll(3, 2)
    still = torch.zeros(1, 3, 32, 32, 32)

    def distance(*grids: int) -> float:
        return label_distance(still, fixed_labels=labels, moving_labels=moved, chosen=[1], grids=grids).item()

    assert distance(1) == pytest.approx(3 / 9, abs=1e-4)
    assert distance(2, 1) == pytest.approx((distance(2) + distance(1)) / 2)


def test_following_the_label_term_makes_labels_meet():
    fixed, moving = torch.zeros(2, 1, 1, 32, 32, 32).unbind(0)
    moving[..., 8:18, 8:18, 8:18] = 3
    fixed[..., 10:20, 8:18, 8:18] = 3
    flow = torch.zeros(1, 3, 1, 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([flow], lr=0.2)
    for _ in range(20):
        optimiser.zero_grad()
        distance = label_distance(flow.expand(1, 3, 32, 32, 32), fixed_labels=fixed, moving_labels=moving, chosen=[3])
        distance.backward()
        optimiser.step()
    assert distance < 0.05
    assert flow[0, 0].item() == pytest.approx(-2, abs=0.3)

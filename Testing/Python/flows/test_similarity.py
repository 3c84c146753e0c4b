"""Local NCC is the one MONAI computes, and its written-out gradient the one automatic differentiation finds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ULAERegistrationLib.flows.similarity import LocalNCC, local_ncc, ncc_maps, window_sum


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, 1, 21, 18, 16, generator=generator).unbind(0)


@pytest.mark.slow
@pytest.mark.parametrize("window", [3, 7, 9, 11])
def test_it_is_monais_local_ncc(pair, window):
    from monai.losses import LocalNormalizedCrossCorrelationLoss  # takes seconds to import

    fixed, moving = pair
    oracle = LocalNormalizedCrossCorrelationLoss(kernel_size=window, smooth_nr=0, smooth_dr=1e-5)
    assert local_ncc(fixed, moving, window).item() == pytest.approx(-oracle(moving, fixed).item(), abs=1e-5)


def test_its_gradient_is_the_true_one(pair):
    fixed, moving = pair
    moving = (moving + 0.5 * fixed).requires_grad_()
    local_ncc(fixed, moving, 5).backward()
    plain = moving.detach().double().requires_grad_()
    _plain_ncc(fixed.double(), plain, 5).backward()
    torch.testing.assert_close(moving.grad.double(), plain.grad, atol=1e-7, rtol=1e-3)
    assert plain.grad.abs().max() > 1e-5


def test_window_sums_are_box_convolutions(pair):
    image = pair[0]
    torch.testing.assert_close(window_sum(image, 5), F.conv3d(image, torch.ones(1, 1, 5, 5, 5), padding=2))


def test_an_image_correlates_fully_with_itself_up_to_scale_and_offset(pair):
    image = pair[0]
    inner = LocalNCC(image, 5).map(3 * image + 1)[:, :, 3:-3, 3:-3, 3:-3]
    assert inner.min() > 0.999


def test_constant_images_neither_divide_by_zero_nor_push():
    flat = torch.full((1, 1, 12, 12, 12), 0.7).requires_grad_()
    value = local_ncc(torch.rand(1, 1, 12, 12, 12), flat, 5)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(flat.grad).all()


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="odd"):
        LocalNCC(torch.rand(1, 1, 8, 8, 8), 4)


def _plain_ncc(fixed, moving, window):
    def total(x):
        return F.conv3d(x, torch.ones(1, 1, window, window, window, dtype=x.dtype), padding=window // 2)

    count = window**3
    f, m = total(fixed), total(moving)
    cross = total(fixed * moving) - f * m / count
    return (cross**2 / ((total(fixed**2) - f**2 / count) * (total(moving**2) - m**2 / count) + 1e-5)).mean()


def test_maps_by_slabs_are_those_of_the_whole_images() -> None:
    fixed, *moving = torch.rand(3, 1, 1, 40, 9, 8)
    for found, image in zip(ncc_maps(fixed, *moving, window=5), moving, strict=True):
        torch.testing.assert_close(found, LocalNCC(fixed, 5).map(image), rtol=1e-4, atol=1e-5)

"""Refinement fits one pair from any start, says where it is, stops when told, and can end without a fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from ULAERegistrationLib.errors import Cancelled
from ULAERegistrationLib.flows import refinement
from ULAERegistrationLib.flows.composed import ComposedFlows
from ULAERegistrationLib.flows.fold_removal import remove_folds
from ULAERegistrationLib.flows.jacobian import smallest_jacobian, smallest_jacobian_at
from ULAERegistrationLib.flows.refinement import LEVELS, _fit_level, _gaussian, refine, smoothness_gradient
from ULAERegistrationLib.flows.similarity import LocalNCC, local_ncc
from ULAERegistrationLib.flows.warp import compose, compose_all, compose_all_at, values_at, warp
from ULAERegistrationLib.settings import RegistrationSettings

pytestmark = pytest.mark.slow

SIZE = (48, 56, 48)


def folded(flow: Tensor) -> Tensor:
    """Where a flow folds at any corner."""
    return smallest_jacobian(flow) <= 0


def noise(channels: int, coarse: int, seed: int, size: tuple[int, ...] = SIZE) -> Tensor:
    """Smooth random fields of unit spread."""
    random = torch.Generator().manual_seed(seed)
    field = torch.randn(1, channels, *(n // coarse for n in size), generator=random)
    return F.interpolate(field, size=size, mode="trilinear", align_corners=True)


def ball() -> Tensor:
    axes = torch.meshgrid(*(torch.linspace(-1.15, 1.15, n) for n in SIZE), indexing="ij")
    return (sum(axis**2 for axis in axes) < 1).float()[None, None]


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor, Tensor]:
    """A textured ball warped, the ball itself, and the warp: up to about 4 voxels."""
    return warped_ball(1.5 * noise(3, 12, 1) * ball())


@pytest.fixture(scope="module")
def rough_pair() -> tuple[Tensor, Tensor, Tensor]:
    """The same with a warp that is too rough to be found from the alignment alone."""
    return warped_ball(3 * noise(3, 8, 1))


def warped_ball(known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    moving = torch.sigmoid(1.5 * noise(1, 4, 0)) * ball()
    return warp(moving, known), moving, known


def zeros() -> list[Tensor]:
    return [torch.zeros(1, 3, *SIZE) for _ in range(3)]


def network_like(pair) -> list[Tensor]:
    """Three flows that go part of the way, as a network's would."""
    return [0.3 * pair[2], 0.2 * pair[2], 0.1 * noise(3, 12, 5)]


def accurate(**settings) -> RegistrationSettings:
    return RegistrationSettings(preset="accurate", **settings)


def overlap(a: Tensor, b: Tensor, count: int) -> float:
    scores = [2 * ((a == i) & (b == i)).sum() / ((a == i).sum() + (b == i).sum()) for i in range(1, count + 1)]
    return float(torch.stack(scores).mean())


@pytest.mark.parametrize("begin", ["affine", "network"])
def test_a_known_warp_is_found_from_zero_flows_and_from_the_networks(pair, begin: str) -> None:
    fixed, moving, known = pair
    start = ComposedFlows.of(zeros() if begin == "affine" else network_like(pair))
    before, after = start.total, refine(start, fixed=fixed, moving=moving, settings=accurate()).total
    inside = ball().bool().expand(1, 3, -1, -1, -1)
    error = (after - known)[inside].abs().mean()
    assert error < 0.6 * (before - known)[inside].abs().mean()
    assert error < 0.15
    assert local_ncc(fixed, warp(moving, after)) > 0.96 * local_ncc(fixed, warp(moving, known))
    assert local_ncc(fixed, warp(moving, before)) < 0.95 * local_ncc(fixed, warp(moving, known))
    # Labels that follow no edge of the image, which the optimiser never saw.
    labels = (1 + 4 * torch.rand(1, 1, 6, 7, 6, generator=torch.Generator().manual_seed(3))).floor()
    labels = F.interpolate(labels, size=SIZE, mode="nearest") * ball()
    fixed_labels = warp(labels, known, mode="nearest")
    scores = [overlap(fixed_labels, warp(labels, flow, mode="nearest"), 4) for flow in (before, after)]
    assert scores[1] > max(scores[0], 0.9)


def test_the_residual_goes_into_the_last_step_so_that_equation_2_still_holds(rough_pair) -> None:
    fixed, moving, known = rough_pair
    flows = [0.5 * known, 0.3 * known, 0.1 * noise(3, 12, 5)]
    refined = refine(ComposedFlows.of(flows), fixed=fixed, moving=moving, settings=accurate(refinement_iterations=40))
    phi1, phi2, phi3 = refined.flows
    assert torch.equal(phi1, flows[0])
    assert torch.equal(phi2, flows[1])
    assert not torch.equal(phi3, flows[2])
    total = compose(compose(phi1, phi2), phi3)
    assert (total - refined.total).abs().mean() < 0.02
    torch.testing.assert_close(refined.total, compose_all(refined.flows), rtol=0, atol=1e-3)
    assert local_ncc(fixed, warp(moving, total)) > local_ncc(fixed, warp(moving, compose_all(flows)))


@pytest.mark.parametrize("steps", [1, 3])
def test_so_few_steps_that_a_level_has_none_do_not_leave_the_flows_out(rough_pair, steps: int) -> None:
    fixed, moving, known = rough_pair
    start = ComposedFlows.of([0.5 * known, 0.5 * known])
    refined = refine(start, fixed=fixed, moving=moving, settings=accurate(refinement_iterations=steps))
    assert torch.equal(refined.flows[0], start.flows[0])


def test_flows_are_left_out_where_a_smoother_fit_from_the_alignment_alone_matches_as_well(pair) -> None:
    """As between a brain and its smooth warp, where the network slides along the edges."""
    fixed, moving, known = pair
    sliding = ComposedFlows.of([0.5 * known, 0.5 * known, 0.8 * noise(3, 6, 5)])
    refined = refine(sliding, fixed=fixed, moving=moving, settings=accurate())
    alone = refine(sliding.zeros(), fixed=fixed, moving=moving, settings=accurate())
    assert all(torch.equal(a, b) for a, b in zip(refined.flows, alone.flows, strict=True))
    inside = ball().bool().expand(1, 3, -1, -1, -1)
    errors = [(flows.total - known)[inside].abs().mean() for flows in (refined, sliding)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize(("more", "left_out"), [(-0.5, True), (0.009, True), (0.011, False)])
def test_flows_are_left_out_where_without_them_at_most_a_hundredth_more_of_the_match_is_missed(
    monkeypatch, more: float, left_out: bool
) -> None:
    begun = []

    def fit(level, count, fixed, moving, base, residual, *_) -> tuple[float, Tensor]:
        begun.append(bool(base.any()))
        return 1 - 0.2 * (1 if base.any() else 1 + more), torch.zeros(1, 3, 4, 4, 4)

    monkeypatch.setattr(refinement, "_fit_level", fit)
    flows = [torch.ones(1, 3, *SIZE), *zeros()[:2]]
    refined = refine(ComposedFlows.of(flows), fixed=ball(), moving=ball(), settings=accurate())
    assert (not refined.flows[0].any()) == left_out
    assert begun == [False, True, False, True, not left_out]  # the finest level goes on from one of the two


@pytest.mark.parametrize(
    ("gains", "steps", "is_kept"),
    [([1.1e-5] * 60, 60, True), ([0.9e-5] * 60, 11, False), ([1e-3] * 20 + [0.9e-5] * 40, 31, True)],
    ids=["always a little more than pays", "always a little less", "at first"],
)
def test_a_level_ends_where_ten_steps_hardly_gain_and_moves_nothing_where_all_of_them_hardly_do(
    monkeypatch, gains: list[float], steps: int, is_kept: bool
) -> None:
    """An NCC of .0001 is what pays."""
    nccs = [0.5 + sum(gains[:step]) for step in range(len(gains))]
    given, taken = iter(nccs), []
    monkeypatch.setattr(refinement, "_force", lambda similarity, warped, size: (next(given), torch.ones(1, 3, *size)))
    start = zeros()[0]
    ncc, flow = _fit_level(LEVELS[0], 60, ball(), ball(), start, start, 1.0, taken.append)
    assert len(taken) == steps
    assert ncc == (nccs[steps - 1] if is_kept else nccs[0])
    assert bool(flow.any()) == is_kept


@pytest.mark.parametrize("settings", [{"preset": "fast"}, {"preset": "accurate", "refinement_iterations": 0}])
def test_fast_and_no_iterations_change_nothing(pair, settings: dict) -> None:
    fixed, moving, _ = pair
    start = ComposedFlows.of(network_like(pair))
    result = refine(start, fixed=fixed, moving=moving, settings=RegistrationSettings(**settings))
    assert all(torch.equal(a, b) for a, b in zip(result.flows, start.flows, strict=True))


def test_equal_images_hardly_move(pair) -> None:
    image = pair[1]
    flow = refine(ComposedFlows.of(zeros()), fixed=image, moving=image, settings=accurate()).total
    inside = F.avg_pool3d(ball(), 5, 1, 2)[0, 0] > 0.99
    assert flow[0].norm(dim=0)[inside].mean() < 0.15


def test_progress_counts_every_step_from_0_to_1(pair) -> None:
    fixed, moving, _ = pair
    seen: list[float] = []
    settings = accurate(refinement_iterations=30)
    start = ComposedFlows.of(zeros())
    refine(start, fixed=fixed, moving=moving, settings=settings, progress=lambda fraction, _: seen.append(fraction))
    assert len(seen) >= 31
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1


@pytest.mark.parametrize("preset", ["accurate", "smooth"])
def test_cancel_stops_at_once_and_leaves_the_flows_as_they_were(pair, preset: str) -> None:
    fixed, moving, _ = pair
    flows = network_like(pair)
    kept = [flow.clone() for flow in flows]
    calls = []

    def progress(fraction: float, message: str) -> None:
        calls.append(message)
        if len(calls) == (5 if preset == "accurate" else 21):
            raise Cancelled

    with pytest.raises(Cancelled):
        refine(
            ComposedFlows.of(flows),
            fixed=fixed,
            moving=moving,
            settings=RegistrationSettings(preset=preset, refinement_iterations=20),
            progress=progress,
        )
    assert len(calls) == (5 if preset == "accurate" else 21)
    assert all(torch.equal(a, b) for a, b in zip(flows, kept, strict=True))


def test_more_smoothness_makes_a_smoother_flow(pair) -> None:
    fixed, moving, _ = pair

    def roughness(smoothness: float) -> float:
        settings = accurate(smoothness=smoothness)
        flow = refine(ComposedFlows.of(zeros()), fixed=fixed, moving=moving, settings=settings).total
        return float(sum(flow.diff(dim=axis).square().mean() for axis in (2, 3, 4)))

    assert roughness(5) < 0.9 * roughness(1)


def test_the_smoothness_gradient_is_that_of_the_papers_term() -> None:
    flow = noise(3, 2, 7, (8, 10, 6)).requires_grad_()
    (sum(flow.diff(dim=axis).square().sum() for axis in (2, 3, 4)) / (3 * flow.numel())).backward()
    torch.testing.assert_close(smoothness_gradient(flow.detach()), flow.grad)


@pytest.mark.parametrize("sigma", [0.45, 1.0, 2.5])
def test_smoothing_multiplies_by_no_denormal_numbers_and_is_the_gaussian_up_to_rounding(sigma: float) -> None:
    matrix = _gaussian(160, 80, sigma, torch.device("cpu"))
    assert matrix[matrix > 0].min() > torch.finfo(torch.float32).tiny
    distances = torch.linspace(0, 159, 80, dtype=torch.float64)[:, None] - torch.arange(160, dtype=torch.float64)
    exact = torch.exp(-0.5 * (distances / sigma) ** 2)
    torch.testing.assert_close(matrix.double(), exact / exact.sum(1, keepdim=True), rtol=0, atol=2e-7)


def test_windows_on_a_strided_grid_are_those_of_the_full_grid() -> None:
    fixed, moving = noise(1, 2, 8, (12, 14, 10)), noise(1, 2, 9, (12, 14, 10)).requires_grad_()
    strided, dense = LocalNCC(fixed, 5, stride=2), LocalNCC(fixed, 5)
    expected = dense.map(moving)[..., 1::2, 1::2, 1::2]
    torch.testing.assert_close(strided.map(moving), expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(strided(moving), moving)
    (slow,) = torch.autograd.grad(expected.mean(), moving)
    torch.testing.assert_close(gradient, slow, rtol=1e-3, atol=1e-6)


def bump(height: float) -> Tensor:
    """A flow that folds along L around its middle."""
    flow = torch.zeros(1, 3, *SIZE)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    flow[:, 0] = -height * torch.tanh(12 * axes[0]) * torch.exp(-4 * sum(axis**2 for axis in axes))
    return flow


@pytest.mark.parametrize("which", [0, 1, 2])
def test_smooth_ends_without_a_fold_whichever_step_folded(pair, which: int) -> None:
    fixed, moving, _ = pair
    flows = zeros()
    flows[which] = bump(5)
    start = ComposedFlows.of(flows)
    assert folded(start.total).sum() > 100
    settings = RegistrationSettings(preset="smooth", refinement_iterations=20)
    refined = refine(start, fixed=fixed, moving=moving, settings=settings)
    assert folded(refined.total).sum() == 0
    assert folded(compose_all(refined.flows)).sum() == 0


def test_noise_that_folds_everywhere_is_unfolded_too() -> None:
    noisy = ComposedFlows.of([3 * noise(3, 2, seed) for seed in (1, 2, 3)])
    assert folded(noisy.total).float().mean() > 0.3
    unfolded = remove_folds(noisy)
    assert folded(unfolded.total).sum() == 0
    assert folded(compose_all(unfolded.flows)).sum() == 0


def test_folds_are_looked_for_again_wherever_the_smoothing_changed_something() -> None:
    """The voxels that are computed again are enough: the result has as few folds as it may when all are counted."""
    noisy = ComposedFlows.of([0.8 * noise(3, 4, seed) for seed in (5, 6, 7)])
    share = folded(noisy.total).float().mean()
    for allowed in (0.5 * share, 0.1 * share, 0.0):
        unfolded = remove_folds(noisy, float(allowed))
        assert folded(compose_all(unfolded.flows)).float().mean() <= allowed
        torch.testing.assert_close(unfolded.total, compose_all(unfolded.flows), rtol=0, atol=1e-3)


def test_at_some_voxels_is_computed_what_the_whole_grid_has_there() -> None:
    flows = [2 * noise(3, 6, seed) for seed in (1, 2, 3)]
    total = compose_all(flows)
    voxels = torch.stack(torch.meshgrid(*(torch.tensor([0, 1, 20, n - 2, n - 1]) for n in SIZE), indexing="ij"))
    voxels = voxels.flatten(1)
    torch.testing.assert_close(values_at(total, voxels), total[:, :, *voxels], rtol=0, atol=0)
    # What is warped as a whole is computed from planes, whose rows are counted in float32.
    torch.testing.assert_close(compose_all_at(flows, voxels), total[:, :, *voxels], rtol=0, atol=1e-3)
    torch.testing.assert_close(
        smallest_jacobian_at(total, voxels), smallest_jacobian(total)[0][*voxels], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("number", [1, 3])
def test_the_flows_that_are_given_to_be_unfolded_stay_as_they_are(number: int) -> None:
    given = ComposedFlows.of([3 * noise(3, 2, seed) for seed in range(number)])
    before = [flow.clone() for flow in (*given.flows, given.total)]
    remove_folds(given)
    for flow, as_given in zip((*given.flows, given.total), before, strict=True):
        assert torch.equal(flow, as_given)


def test_unfolding_leaves_alone_what_does_not_fold() -> None:
    flow = bump(5) + 0.2 * noise(3, 12, 4)
    unfolded = remove_folds(ComposedFlows.of([flow])).total
    far = torch.ones(SIZE, dtype=torch.bool)
    far[8:-8, 8:-8, 8:-8] = False
    assert torch.equal(unfolded[..., far], flow[..., far])
    still = remove_folds(ComposedFlows.of(zeros()))
    assert not any(one.any() for one in (*still.flows, still.total))


def test_two_brains_align_without_a_network(data_folder: Path) -> None:
    """Training people, on half their grid to be quick: 2 mm voxels."""

    def read(name: str) -> Tensor:
        array = sitk.GetArrayFromImage(sitk.ReadImage(data_folder / "brains" / f"{name}.nii.gz")).T
        return torch.from_numpy(array.astype(np.float32))[None, None]

    fixed, moving = (F.avg_pool3d(read(f"nirep-na{n}_t1") / 255, 2) for n in ("01", "09"))
    fixed_labels, moving_labels = (read(f"nirep-na{n}_seg")[..., ::2, ::2, ::2] for n in ("01", "09"))
    start = ComposedFlows.of([torch.zeros(1, 3, *fixed.shape[2:])] * 3)
    flow = refine(start, fixed=fixed, moving=moving, settings=accurate()).total
    before = overlap(fixed_labels, moving_labels, 32)
    after = overlap(fixed_labels, warp(moving_labels, flow, mode="nearest"), 32)
    assert before < 0.47
    assert after > 0.53
    assert folded(flow).float().mean() <= 0.0015


def test_smooth_is_as_smooth_as_twice_the_smoothness(pair) -> None:
    fixed, moving, _ = pair
    asked = (RegistrationSettings(preset="smooth"), accurate(smoothness=2.0))
    start = ComposedFlows.of(zeros())
    smooth, twice = (refine(start, fixed=fixed, moving=moving, settings=one).total for one in asked)
    torch.testing.assert_close(smooth, twice, rtol=0, atol=1e-3)


def test_smooth_without_a_step_of_refinement_has_no_fold_either(pair) -> None:
    fixed, moving, _ = pair
    settings = RegistrationSettings(preset="smooth", refinement_iterations=0)
    refined = refine(ComposedFlows.of([bump(5), *zeros()[:2]]), fixed=fixed, moving=moving, settings=settings)
    assert folded(refined.total).sum() == 0

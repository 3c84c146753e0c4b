"""The figures of quality are those of SimpleITK and MONAI, and the verdict follows from them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.flows import jacobian
from ULAERegistrationLib.flows.jacobian import corner_jacobians, smallest_jacobian
from ULAERegistrationLib.flows.similarity import LocalNCC
from ULAERegistrationLib.geometry.alignment import Alignment
from ULAERegistrationLib.geometry.likeness import Likeness, likeness
from ULAERegistrationLib.quality import DO_NOT_USE, GOOD, LOOK, Quality
from ULAERegistrationLib.quality_measures import measure

SIZE = (24, 30, 27)
LIKE = Likeness(correlation=0.85, overlap=0.96, handedness=0.25)  # as a whole T1 brain in its place has


def smooth_flow(strength: float, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    coarse = torch.randn(1, 3, 5, 6, 5, generator=torch.manual_seed(3)) * strength
    return torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)[0].numpy()


def image_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured ball, the same displaced by two voxels along L, and where the first is."""
    noise = torch.rand(1, 1, 10, 12, 11, generator=torch.manual_seed(1))
    texture = torch.nn.functional.interpolate(noise, size=SIZE, mode="trilinear", align_corners=True)[0, 0].numpy()
    distance = np.linalg.norm(np.indices(SIZE) - np.array(SIZE).reshape(3, 1, 1, 1) / 2, axis=0)
    fixed = (0.2 + 0.8 * texture) * (distance < 9)
    return fixed.astype(np.float32), np.roll(fixed, 2, axis=0).astype(np.float32), distance < 9


def as_itk_field(flow: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(flow.transpose(3, 2, 1, 0).astype(np.float64), isVector=True)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


@pytest.fixture
def good() -> Quality:
    return Quality(
        ncc_before=0.25,
        ncc_after=0.55,
        ncc_all_before=0.15,
        ncc_all_after=0.3,
        mse_before=0.014,
        mse_after=0.005,
        folded_voxels=120,
        folded_percent=0.002,
        folded_percent_brain=0.006,
        jacobian_min=-0.1,
        jacobian_max=4.2,
        log_jacobian_sd=0.3,
        displacement_mean_mm=3.1,
        displacement_max_mm=11.0,
        missing_percent=0.1,
        beyond_percent=0.1,
        fixed_likeness=LIKE,
        moving_likeness=LIKE,
        seconds={"network": 3.2, "quality": 1.5},
    )


def jacobian_determinant(flow: np.ndarray) -> np.ndarray:
    return jacobian.jacobian(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy()


def folded(flow: np.ndarray) -> np.ndarray:
    return jacobian.folded(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy()


def test_jacobian_determinant_is_simpleitks_inside_the_grid() -> None:
    flow = smooth_flow(1.5)
    itk = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(as_itk_field(flow))).transpose(2, 1, 0)
    inner = (slice(1, -1),) * 3
    assert itk.std() > 0.2
    np.testing.assert_allclose(jacobian_determinant(flow)[inner], itk[inner], atol=1e-4)


def test_jacobian_of_a_linear_map_is_its_determinant_up_to_the_border() -> None:
    matrix = np.array([[1.2, 0.1, 0.0], [-0.2, 0.9, 0.3], [0.0, 0.1, 1.1]])
    flow = np.einsum("ij,jlps->ilps", matrix - np.eye(3), np.indices(SIZE)).astype(np.float32)
    np.testing.assert_allclose(jacobian_determinant(flow), np.linalg.det(matrix), rtol=1e-4)
    np.testing.assert_allclose(smallest_jacobian(torch.from_numpy(flow)[None]), np.linalg.det(matrix), rtol=1e-3)


def test_a_fold_that_central_differences_miss_is_counted() -> None:
    flow = np.zeros((3, *SIZE), np.float32)
    flow[0, 10, 12, 12] = 1.5  # one point jumps over its neighbour, whose own neighbours stay in order
    assert jacobian_determinant(flow)[10, 12, 12] == pytest.approx(1.0)
    assert folded(flow)[10, 12, 12]
    assert not folded(flow)[13, 12, 12]


def test_a_voxel_folds_where_a_corner_of_it_turns_inside_out() -> None:
    """Against determinants by numpy of each voxel's edges, one corner at a time."""
    flow = smooth_flow(4.0, (9, 11, 18))
    points = flow + np.indices(flow.shape[1:])
    expected = np.zeros(flow.shape[1:], bool)
    for signs in np.ndindex(2, 2, 2):
        edges = []
        for axis, backward in enumerate(signs):
            edge = np.diff(points, axis=axis + 1)
            ends = [(0, 0)] * 4
            ends[axis + 1] = (1, 0) if backward else (0, 1)
            edges.append(np.pad(edge, ends, mode="edge"))
        expected |= np.linalg.det(np.stack(edges).transpose(2, 3, 4, 0, 1)) <= 0
    assert 0.01 < expected.mean() < 0.9
    assert (folded(flow) == expected).mean() > 0.9999
    assert (folded(flow) >= (jacobian_determinant(flow) < -1e-5)).all()


def test_the_central_determinant_is_the_mean_of_the_corners() -> None:
    flow = torch.from_numpy(smooth_flow(2.0))[None]
    np.testing.assert_allclose(
        jacobian_determinant(flow[0].numpy()), corner_jacobians(flow).mean(1)[0], atol=1e-4, rtol=1e-4
    )


def test_corner_determinants_can_be_learned_from() -> None:
    flow = torch.from_numpy(smooth_flow(3.0))[None].requires_grad_()
    before = corner_jacobians(flow).relu().sub(corner_jacobians(flow)).sum()
    before.backward()
    with torch.no_grad():
        unfolded = flow - 0.01 * flow.grad
    after = corner_jacobians(unfolded)
    assert after[after < 0].abs().sum() < before.detach()


def test_where_nothing_moves_similarity_is_as_before_and_the_squared_difference_is_numpys() -> None:
    fixed, moving, brain = image_pair()
    quality = measure(fixed, moving, np.zeros((3, *SIZE), np.float32), brain)
    assert quality.mse_before == pytest.approx(((fixed - moving) ** 2).mean(), rel=1e-4)
    assert quality.mse_after == pytest.approx(quality.mse_before, rel=1e-4)
    assert quality.ncc_after == pytest.approx(quality.ncc_before, abs=1e-5)
    assert quality.ncc_all_after == pytest.approx(quality.ncc_all_before, abs=1e-5)


def test_local_correlation_is_simpleitks() -> None:
    fixed, moving, brain = (np.pad(array, 6) for array in image_pair())
    itk = sitk.ImageRegistrationMethod()
    itk.SetMetricAsANTSNeighborhoodCorrelation(4)
    itk.SetInterpolator(sitk.sitkLinear)
    itk.SetInitialTransform(sitk.TranslationTransform(3))
    found = -itk.MetricEvaluate(*(sitk.GetImageFromArray(image.T) for image in (fixed, moving)))
    # ITK counts a window in which nothing varies as a full match, the paper and MONAI as none.
    empty = (LocalNCC(as_tensor(fixed)).map(as_tensor(moving)) == 0).float().mean().item()
    quality = measure(fixed, moving, np.zeros((3, *fixed.shape), np.float32), brain)
    assert 0.05 < quality.ncc_all_before < 0.95
    assert quality.ncc_all_before == pytest.approx(found - empty, abs=1e-5)


def test_undoing_a_known_shift_is_measured_as_such() -> None:
    fixed, moving, brain = image_pair()
    flow = np.zeros((3, *SIZE), np.float32)
    flow[0] = 2
    quality = measure(fixed, moving, flow, brain, likenesses=(LIKE, LIKE))
    assert quality.ncc_after == pytest.approx(1, abs=0.01)
    assert quality.ncc_after > quality.ncc_before + 0.1
    assert quality.mse_after < 1e-6
    assert quality.displacement_mean_mm == pytest.approx(2)
    assert quality.displacement_max_mm == pytest.approx(2)
    assert (quality.jacobian_min, quality.jacobian_max) == pytest.approx((1, 1))
    assert quality.log_jacobian_sd == pytest.approx(0, abs=1e-6)
    assert quality.folded_voxels == 0
    assert quality.verdict == GOOD


@pytest.mark.slow
def test_real_brains_are_judged_as_a_person_would(data_folder: Path) -> None:
    """Affinely aligned only, 8 mm off, and the same scan twice: weak, hardly any, and a good match."""
    fixed, moving = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(data_folder / f"brains/nirep-na{who}_t1.nii.gz"))).transpose(2, 1, 0)
        / np.float32(255)
        for who in ("16", "04")
    )
    brain = fixed > 0
    still = np.zeros((3, *fixed.shape), np.float32)
    shifted = still.copy()
    shifted[0] = 8
    weak, none, same = (
        measure(fixed, m, u, brain, likenesses=(likeness(fixed), likeness(m)))
        for m, u in ((moving, still), (moving, shifted), (fixed, still))
    )
    assert weak.verdict == LOOK
    assert "weakly" in weak.reasons[0]
    assert none.verdict == DO_NOT_USE
    assert "less well" in none.reasons[0]
    assert none.missing_percent > weak.missing_percent == same.missing_percent == 0
    assert same.verdict == GOOD


def test_displacements_are_in_the_fixed_images_millimetres() -> None:
    fixed, moving, brain = image_pair()
    flow = np.zeros((3, *SIZE), np.float32)
    flow[0] = 2
    enlarge = sitk.AffineTransform(3)
    enlarge.Rotate(0, 1, 0.4)
    enlarge.Scale(1.25)
    quality = measure(fixed, moving, flow, brain, Alignment(enlarge, sitk.AffineTransform(3)))
    assert quality.displacement_mean_mm == pytest.approx(2 / 1.25, rel=1e-5)


def ball(radius: float) -> np.ndarray:
    return np.linalg.norm(np.indices([60] * 3) - 29.5, axis=0) < radius


def judged(fixed: np.ndarray, moving: np.ndarray, expected: np.ndarray | None = None) -> Quality:
    """The quality where two brains of ones lie on each other."""
    still = np.zeros((3, *fixed.shape), np.float32)
    return measure(fixed.astype(np.float32), moving.astype(np.float32), still, fixed, expected=expected)


def test_a_part_that_one_of_two_brains_lacks_is_measured_and_said() -> None:
    whole, cut = ball(26), ball(26)
    cut[:, :20] = False
    share = 100 * (1 - cut.sum() / whole.sum())
    lacking = judged(whole, cut)
    assert 5 < lacking.missing_percent <= share
    assert lacking.beyond_percent == 0
    assert any("of the fixed brain lies outside" in reason for reason in lacking.reasons)
    having_more = judged(cut, whole)
    assert 5 < having_more.beyond_percent <= share
    assert having_more.missing_percent == 0
    assert any("of the moving brain lies outside" in reason for reason in having_more.reasons)


def test_what_the_network_is_not_shown_of_the_moving_brain_counts_too() -> None:
    """Of one person's scans it sees what lies in both brains."""
    whole, cut = ball(26), ball(26)
    cut[:, :20] = False
    still, seen = np.zeros((3, 60, 60, 60), np.float32), cut.astype(np.float32)
    assert measure(seen, seen, still, cut).beyond_percent == 0
    assert measure(seen, seen, still, cut, moving_brain=whole).beyond_percent > 5


def test_a_hole_that_crosses_the_edge_of_the_templates_brain_is_no_missing_part() -> None:
    hole = np.linalg.norm(np.indices([60] * 3) - np.array([46.5, 29.5, 29.5])[:, None, None, None], axis=0) < 8
    quality = judged(ball(27), ball(27) & ~hole, expected=ball(22))
    assert (quality.missing_percent, quality.beyond_percent) == (0, 0)


def test_a_rim_by_which_two_strippings_differ_and_a_neck_are_not_missing() -> None:
    """Of 44 right pairs eight were "look at it" for rims of up to 5 % of the brain and for necks."""
    assert ball(23).sum() < 0.75 * ball(26).sum()
    for rim in (judged(ball(26), ball(23)), judged(ball(23), ball(26))):
        assert (rim.missing_percent, rim.beyond_percent) == (0, 0)
        assert not any("lies outside" in reason for reason in rim.reasons)
    without_neck = ball(26)
    without_neck[:, :, :16] = False
    assert judged(ball(26), without_neck).missing_percent > 2
    assert judged(ball(26), without_neck, expected=without_neck).missing_percent == 0
    assert judged(without_neck, ball(26), expected=without_neck).beyond_percent == 0


def test_folding_is_a_share_of_the_grid_and_of_the_brain() -> None:
    fixed, moving, brain = image_pair()
    flow = smooth_flow(4.0)
    quality, folds = measure(fixed, moving, flow, brain), folded(flow)
    assert quality.folded_voxels == folds.sum() > 0
    assert quality.folded_percent == pytest.approx(100 * folds.mean(), rel=1e-4)
    assert quality.folded_percent_brain == pytest.approx(100 * folds[brain].mean(), rel=1e-4)


def test_a_flow_that_is_no_number_is_refused() -> None:
    fixed, moving, brain = image_pair()
    flow = np.zeros((3, *SIZE), np.float32)
    flow[1, 2, 3, 4] = np.nan
    with pytest.raises(RegistrationError, match="not numbers"):
        measure(fixed, moving, flow, brain)
    with pytest.raises(RegistrationError, match="no brain"):
        measure(fixed, moving, np.zeros_like(flow), np.zeros_like(brain))


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({}, GOOD, "folds in 0.01 % of the brain only"),
        ({"folded_voxels": 0, "folded_percent_brain": 0.0}, GOOD, "folds nowhere"),
        ({"folded_voxels": 1, "folded_percent_brain": 0.0001}, GOOD, "folds in less than 0.01 % of the brain."),
        ({"ncc_before": 1.0, "ncc_after": 0.995}, GOOD, "match"),
        ({"ncc_after": 0.2}, DO_NOT_USE, "less well"),
        ({"ncc_before": 0.05, "ncc_after": 0.1}, DO_NOT_USE, "hardly"),
        ({"folded_percent_brain": 6.0}, DO_NOT_USE, "folds in 6.0 %"),
        ({"ncc_after": 0.3}, LOOK, "weakly"),
        ({"ncc_before": 0.12}, LOOK, "hardly matched before"),
        ({"folded_percent_brain": 2.0}, LOOK, "folds in 2.0 %"),
        ({"missing_percent": 5.0}, LOOK, "5.0 % of the fixed brain lies outside"),
        ({"beyond_percent": 5.0}, LOOK, "5.0 % of the moving brain lies outside"),
        ({"displacement_max_mm": 40.0}, LOOK, "40 mm"),
        ({"warnings": ("The moving image is not skull-stripped.",)}, LOOK, "skull"),
        ({"steps_left_out": True, "ncc_before": 0.3}, LOOK, "left out"),
        ({"steps_left_out": True, "ncc_before": 0.55}, GOOD, "The brains match"),
        ({"ncc_after": float("nan")}, LOOK, "Not everything could be measured (ncc_after)"),
        ({"fixed_likeness": None}, LOOK, "fixed brain was not compared"),
        (
            {"moving_likeness": dataclasses.replace(LIKE, correlation=0.5)},
            LOOK,
            "moving brain is not like the template",
        ),
        ({"fixed_likeness": dataclasses.replace(LIKE, correlation=0.75)}, GOOD, "match"),
        ({"fixed_likeness": dataclasses.replace(LIKE, correlation=0.75, voxel_mm=5.0)}, LOOK, "have 0.78 and 0.91"),
        ({"fixed_likeness": dataclasses.replace(LIKE, overlap=0.85)}, LOOK, "fixed brain is not like"),
        ({"moving_likeness": dataclasses.replace(LIKE, handedness=-0.2)}, LOOK, "moving brain seems to be mirrored"),
        ({"fixed_likeness": dataclasses.replace(LIKE, correlation=math.nan)}, LOOK, "fixed brain is not like"),
        (
            {"moving_likeness": dataclasses.replace(LIKE, handedness=math.nan)},
            LOOK,
            "moving brain seems to be mirrored",
        ),
    ],
)
def test_the_verdict_says_why(good: Quality, changes: dict, verdict: str, word: str) -> None:
    quality = dataclasses.replace(good, **changes)
    assert quality.verdict == verdict
    assert word in quality.reasons[0]
    assert all(reason.endswith(".") for reason in quality.reasons)


def test_the_gravest_reason_comes_first(good: Quality) -> None:
    quality = dataclasses.replace(good, warnings=("Something small.",), folded_percent_brain=7.0)
    assert "folds" in quality.reasons[0]
    assert quality.reasons[-1] == "Something small."


def test_a_hint_comes_after_the_reasons_and_changes_no_verdict(good: Quality) -> None:
    hinted = dataclasses.replace(good, hints=("There is another way.",))
    assert hinted.verdict == good.verdict
    assert hinted.reasons == (*good.reasons, "There is another way.")
    doubtful = dataclasses.replace(hinted, missing_percent=5.0)
    assert "outside" in doubtful.reasons[0]
    assert doubtful.to_dict()["reasons"][-1] == doubtful.to_dict()["hints"][0]


def test_every_measure_is_in_the_json(good: Quality) -> None:
    quality = dataclasses.replace(good, warnings=("Look.",)).with_inverse_errors(np.array([0.1, 0.2, 0.6]))
    content = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert (content["verdict"], content["reasons"]) == (LOOK, ["Look."])
    known = {field.name: content[field.name] for field in dataclasses.fields(Quality)}
    assert Likeness(**known["fixed_likeness"]) == Likeness(**known["moving_likeness"]) == LIKE
    known |= {"fixed_likeness": LIKE, "moving_likeness": LIKE}
    known |= {name: tuple(known[name]) for name in ("warnings", "hints")}
    assert Quality(**known) == quality
    errors = quality.inverse_mean_mm, quality.inverse_p99_mm, quality.inverse_max_mm
    assert errors == pytest.approx((0.3, 0.592, 0.6))


def test_displacements_follow_a_map_that_stretches_one_axis_and_turns() -> None:
    fixed, moving, brain = image_pair()
    flow = np.zeros((3, *SIZE), np.float32)
    flow[0] = 2
    turn = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0, 0, 0.6).GetMatrix(), (3, 3))
    to_canonical = sitk.AffineTransform((np.diag([1.25, 0.8, 1.0]) @ turn).ravel().tolist(), [0.0] * 3)
    expected = np.linalg.norm(to_canonical.GetInverse().TransformVector((2.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    quality = measure(fixed, moving, flow, brain, Alignment(to_canonical, sitk.AffineTransform(3)))
    assert quality.displacement_mean_mm == pytest.approx(expected, rel=1e-5)


def test_the_spread_and_the_range_of_the_determinant_are_simpleitks() -> None:
    fixed, moving, brain = image_pair()
    flow = smooth_flow(0.8)
    itk = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(as_itk_field(flow))).transpose(2, 1, 0)
    quality = measure(fixed, moving, flow, brain)
    assert quality.log_jacobian_sd == pytest.approx(np.log(itk[brain]).std(), rel=1e-2)
    grid = jacobian_determinant(flow)
    assert (quality.jacobian_min, quality.jacobian_max) == pytest.approx((grid.min(), grid.max()))
    assert quality.jacobian_min < itk[brain].min() < itk[brain].max() < quality.jacobian_max


@pytest.mark.parametrize(
    ("measure", "fine", "doubtful"),
    [
        ("ncc_before", 0.16, 0.159),
        ("ncc_after", 0.5, 0.499),
        ("missing_percent", 0.5, 0.51),
        ("beyond_percent", 0.5, 0.51),
        ("folded_percent_brain", 1.0, 1.01),
        ("displacement_max_mm", 30.0, 30.1),
    ],
)
def test_a_measure_is_doubted_from_its_limit_on(good: Quality, measure: str, fine: float, doubtful: float) -> None:
    assert dataclasses.replace(good, **{measure: fine}).verdict == GOOD
    assert dataclasses.replace(good, **{measure: doubtful}).verdict == LOOK


@pytest.mark.parametrize(
    ("fine", "doubtful"),
    [
        ({"correlation": 0.69}, {"correlation": 0.689}),
        ({"correlation": 0.78, "voxel_mm": 3.1}, {"correlation": 0.779, "voxel_mm": 3.1}),
        ({"correlation": 0.69, "voxel_mm": 3.0}, {"correlation": 0.69, "voxel_mm": 3.1}),
        ({"overlap": 0.91}, {"overlap": 0.909}),
        ({"handedness": 0.0}, {"handedness": -0.001}),
    ],
)
@pytest.mark.parametrize("role", ["fixed_likeness", "moving_likeness"])
def test_a_likeness_is_doubted_from_its_limit_on(good: Quality, role: str, fine: dict, doubtful: dict) -> None:
    assert dataclasses.replace(good, **{role: dataclasses.replace(LIKE, **fine)}).verdict == GOOD
    assert dataclasses.replace(good, **{role: dataclasses.replace(LIKE, **doubtful)}).verdict == LOOK


@pytest.mark.parametrize(
    ("doubtful", "bad"),
    [
        ({"ncc_before": 0.1, "ncc_after": 0.15}, {"ncc_before": 0.1, "ncc_after": 0.149}),
        ({"ncc_before": 0.569}, {"ncc_before": 0.571}),
        ({"folded_percent_brain": 5.0}, {"folded_percent_brain": 5.01}),
    ],
)
def test_a_result_is_not_to_be_used_from_a_limit_on(good: Quality, doubtful: dict, bad: dict) -> None:
    assert dataclasses.replace(good, **doubtful).verdict != DO_NOT_USE
    assert dataclasses.replace(good, **bad).verdict == DO_NOT_USE

"""The measures of a registration are those of SimpleITK and numpy, and say what one of two brains lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from made_up_flows import SIZE, as_itk_field, smooth_flow

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.flows import jacobian
from ULAERegistrationLib.flows.similarity import LocalNCC
from ULAERegistrationLib.geometry.alignment import Alignment
from ULAERegistrationLib.geometry.likeness import Likeness, likeness
from ULAERegistrationLib.quality import DO_NOT_USE, GOOD, LOOK, Quality
from ULAERegistrationLib.quality_measures import measure

LIKE = Likeness(correlation=0.85, overlap=0.96, handedness=0.25)  # as a whole T1 brain in its place has


def jacobian_determinant(flow: np.ndarray) -> np.ndarray:
    return jacobian.jacobian(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy()


def folded(flow: np.ndarray) -> np.ndarray:
    return (
        jacobian.smallest_jacobian(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy() <= 0
    )


def image_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured ball, the same displaced by two voxels along L, and where the first is."""
    noise = torch.rand(1, 1, 10, 12, 11, generator=torch.manual_seed(1))
    texture = torch.nn.functional.interpolate(noise, size=SIZE, mode="trilinear", align_corners=True)[0, 0].numpy()
    distance = np.linalg.norm(np.indices(SIZE) - np.array(SIZE).reshape(3, 1, 1, 1) / 2, axis=0)
    fixed = (0.2 + 0.8 * texture) * (distance < 9)
    return fixed.astype(np.float32), np.roll(fixed, 2, axis=0).astype(np.float32), distance < 9


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


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

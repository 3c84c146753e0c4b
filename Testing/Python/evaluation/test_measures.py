"""What is measured of a pair is what other tools measure, and the interval is drawn over people and not over pairs."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from made_up_people import SIZE, SPACING, blobs, made_up

from ULAERegistrationLib.dataset.regions import BRAINCOLOR, NIREP, by_region, cortical_dice, mean_dice
from ULAERegistrationLib.evaluation.measures import hausdorff95, measure_pair
from ULAERegistrationLib.evaluation.people import Person
from ULAERegistrationLib.evaluation.summary import interval, summarise
from ULAERegistrationLib.flows.warp import warp

pytestmark = pytest.mark.slow


@pytest.fixture
def label_maps() -> tuple[np.ndarray, np.ndarray]:
    return made_up(0.0, 7, 1)[1], made_up(2.0, 7, 1)[1]


def as_image(values: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(np.ascontiguousarray(values.T))


def test_dice_of_labels_regions_and_their_mean_is_simpleitks(label_maps):
    a, b = label_maps
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(as_image(a), as_image(b))
    expected = {label: overlap.GetDiceCoefficient(label) for label in range(1, 33)}
    assert 0.3 < np.mean(list(expected.values())) < 0.9
    scores = cortical_dice(a, b, NIREP)
    assert scores == pytest.approx(expected)
    assert mean_dice(a, b, "nirep") == pytest.approx(np.mean(list(expected.values())))
    regions = by_region(scores, NIREP)
    assert list(regions) == ["frontal", "parietal", "occipital", "temporal", "cingulate"]
    assert regions["frontal"] == pytest.approx(np.mean([expected[n] for n in range(15, 27)]))
    assert regions["cingulate"] == pytest.approx(np.mean([expected[3], expected[4]]))


def test_labels_absent_from_both_and_those_not_of_the_cortex_are_left_out():
    a, b = np.array([1, 1, 33, 33, 7, 0]), np.array([1, 2, 33, 33, 0, 0])
    scores = cortical_dice(a, b, NIREP)
    assert scores == pytest.approx({1: 2 / 3, 2: 0, 7: 0})
    assert by_region(scores, NIREP) == pytest.approx({"occipital": 1 / 3, "temporal": 0})


def test_the_regions_hold_every_cortical_label_but_the_insula_once(data_folder):
    for numbering, insula, person in (
        (NIREP, {5, 6}, "nirep-na04"),
        (BRAINCOLOR, {102, 103, 172, 173}, "oasis-1113"),
    ):
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(data_folder / "brains" / f"{person}_seg.nii.gz")))
        cortical = set(np.unique(labels).tolist()) & set(numbering.cortical)
        listed = [label for group in numbering.regions.values() for label in group]
        assert len(listed) == len(set(listed))
        assert set(listed) | insula == cortical


def test_hausdorff_distances_are_those_between_simpleitks_contours(label_maps):
    a, b = (labels[10:34, 20:44, 12:36] for labels in label_maps)
    spacing = (1.0, 1.5, 0.7)
    contours = [sitk.GetArrayFromImage(sitk.LabelContour(as_image(np.pad(x, 1)), False)).T for x in (a, b)]
    expected = {}
    for label in set(np.unique(a)) & set(np.unique(b)) - {0}:
        points = [np.argwhere(contour == label) * spacing for contour in contours]
        apart = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
        expected[int(label)] = max(np.percentile(apart.min(1), 95), np.percentile(apart.min(0), 95))
    assert len(expected) > 10
    assert max(expected.values()) > 2
    assert hausdorff95(a, b, spacing) == pytest.approx(expected, abs=1e-4)


def test_a_pair_that_fits_after_a_known_shift_is_perfect():
    image, labels = made_up(0.0, 7, 1)
    fixed = Person("nirep-a", image, labels, SPACING)
    moving = Person("nirep-b", np.roll(image, 4, 1), np.roll(labels, 4, 1), SPACING)
    shift = torch.zeros(1, 3, *SIZE)
    still = measure_pair(fixed, moving, shift, NIREP)
    assert still.dice < 0.8
    assert 0 < still.hd95_mm <= 12
    shift[:, 1] = 4
    found = measure_pair(fixed, moving, shift, NIREP)
    assert (found.dice, found.five_regions, found.union) == (1, 1, 1)
    assert (found.hd95_mm, found.folded_percent, found.folded_central_percent) == (0, 0, 0)
    assert found.log_jacobian_sd < 1e-4


def test_union_folding_and_volume_change_are_simpleitks():
    (image, a), b = made_up(0.0, 7, 1), made_up(2.0, 7, 1)[1]
    flow = 2.5 * blobs(9, 3, 9)
    measures = measure_pair(Person("a", image, a, SPACING), Person("b", image, b, SPACING), flow, NIREP)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    warped = warp(torch.from_numpy(b)[None, None].float(), flow, mode="nearest")[0, 0].numpy()
    overlap.Execute(as_image((warped > 0).astype(np.uint8)), as_image((a > 0).astype(np.uint8)))
    assert measures.union == pytest.approx(overlap.GetDiceCoefficient(1))
    field = sitk.GetImageFromArray(np.ascontiguousarray(flow[0].numpy().transpose(3, 2, 1, 0)), isVector=True)
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).T
    inner = (slice(1, -1),) * 3  # on the faces of the grid SimpleITK takes half the slope
    volume = determinant[(image > 0) & (determinant > 0)]
    assert measures.log_jacobian_sd == pytest.approx(np.log(volume).std(ddof=1), rel=1e-3)
    assert measures.folded_central_percent == pytest.approx(100 * (determinant[inner] <= 0).mean(), rel=0.3)
    assert measures.folded_percent > measures.folded_central_percent > 0


def test_an_interval_of_a_constant_has_no_width():
    pairs = dict.fromkeys(permutations("abcd", 2), 0.7)
    summary = summarise(pairs)
    assert summary.mean == pytest.approx(0.7)
    assert summary.sd == pytest.approx(0)
    assert summary.interval == pytest.approx((0.7, 0.7))


def test_the_interval_is_drawn_over_people():
    people = "abc"
    values = {
        pair: 0.5 + 0.1 * people.index(pair[0]) + 0.01 * people.index(pair[1]) for pair in permutations(people, 2)
    }
    means = []
    for draw in product(people, repeat=3):
        found = [values[f, m] for f, m in permutations(draw, 2) if f != m]
        if found:
            means.append(np.mean(found))
    assert interval(values) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))))
    # One poor person among ten is in 18 of the 90 pairs, and in none of every third draw.
    people = "abcdefghij"
    poor = {pair: 0.0 if "a" in pair else 1.0 for pair in permutations(people, 2)}
    low, high = interval(poor)
    generator = np.random.default_rng(1)
    over_pairs = [generator.choice(list(poor.values()), 90).mean() for _ in range(1000)]
    assert high == 1
    assert high - low > 2 * np.subtract(*np.percentile(over_pairs, (97.5, 2.5)))
    assert interval(poor) == (low, high)


def test_two_people_have_no_interval():
    summary = summarise({("a", "b"): 0.6, ("b", "a"): 0.8})
    assert summary.interval is None
    assert summary.sd == pytest.approx(np.std([0.6, 0.8], ddof=1))

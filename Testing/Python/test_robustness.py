"""The changed moving images of `Testing/benchmarks/robustness.py`, and its table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.overlap import dice

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import perturbations
import robustness
from verdict_cases import extent

BY_NAME = {one.name: one for one in perturbations.PERTURBATIONS}
ASKED = argparse.Namespace(output=None, preset="fast", only=None, pairs=4, minutes=float("inf"))


@pytest.fixture(scope="module")
def brain() -> sitk.Image:
    return sitk.BinShrink(template(), [2, 2, 2])


def bright(image: sitk.Image) -> sitk.Image:
    """A label of what is bright, which any change of the image changes with it."""
    return sitk.Cast(sitk.Cast(image, sitk.sitkFloat32) > 0.6 * float(sitk.GetArrayViewFromImage(image).max()), 1)


def overlap(labels: sitk.Image, others: sitk.Image) -> float:
    return dice(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(others))[1]


@pytest.mark.parametrize("name", [one.name for one in (*perturbations.TURNED, *perturbations.SCALED)])
def test_the_map_of_points_is_that_of_the_image(brain, name):
    one = BY_NAME[name]
    changed = bright(one.image(brain))
    there = sitk.Resample(changed, brain, one.move(brain), sitk.sitkNearestNeighbor)
    assert overlap(there, bright(brain)) > 0.95
    unmoved = sitk.Resample(changed, brain, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert overlap(unmoved, bright(brain)) < 0.9


@pytest.mark.parametrize("name", BY_NAME)
def test_labels_come_back_whole_by_the_true_map_and_not_by_another(brain, name):
    labels, move = bright(brain), BY_NAME[name].move(brain)
    assert overlap(perturbations.labels_through(labels, brain, move, move), labels) == 1
    shifted = sitk.CompositeTransform([move, sitk.TranslationTransform(3, (6.0, 0.0, 0.0))])
    assert overlap(perturbations.labels_through(labels, brain, shifted, move), labels) < 0.9


def test_a_turned_header_keeps_the_voxels_and_a_turned_brain_keeps_the_header(brain):
    in_header, in_voxels = (
        BY_NAME[name].image(brain) for name in ("turned by 15°, in its header alone", "turned by 15°")
    )
    assert np.array_equal(sitk.GetArrayViewFromImage(in_header), sitk.GetArrayViewFromImage(brain))
    assert in_voxels.GetDirection() == brain.GetDirection() != in_header.GetDirection()
    middle = brain.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in brain.GetSize()])
    point = [place + shift for place, shift in zip(middle, (50.0, 0.0, 0.0), strict=True)]
    moved = np.subtract(BY_NAME["turned by 15°"].move(brain).TransformPoint(point), middle)
    assert np.degrees(np.arccos(moved @ (1, 0, 0) / 50)) == pytest.approx(13.1, abs=0.1)  # less than about its own axis


@pytest.mark.parametrize("name", ["3 % noise", "10 % noise", "gamma 0.7", "gamma 1.4", "bias field, 3 : 1"])
def test_changes_of_brightness_leave_the_background_empty_and_the_brain_full(brain, name):
    changed = BY_NAME[name].image(brain)
    assert np.array_equal(sitk.GetArrayViewFromImage(changed) > 0, sitk.GetArrayViewFromImage(brain) > 0)
    assert not np.array_equal(sitk.GetArrayViewFromImage(changed), sitk.GetArrayViewFromImage(brain))


def test_noise_spreads_by_its_percentage_of_white_matter(brain):
    values = sitk.GetArrayFromImage(brain).astype(float)
    white = np.percentile(values[values > 0], 95)
    middle = (values > 0.5 * white) & (values < 0.8 * white)  # neither at zero, where it is skewed, nor clipped at 255
    noise = sitk.GetArrayFromImage(BY_NAME["6 % noise"].image(brain))[middle] - values[middle]
    assert noise.std() == pytest.approx(0.06 * white, rel=0.05)


def test_the_bias_field_is_three_times_as_bright_at_one_end_as_at_the_other(brain):
    inside = sitk.GetArrayFromImage(brain) > 20
    factor = (
        sitk.GetArrayFromImage(BY_NAME["bias field, 3 : 1"].image(brain))[inside]
        / sitk.GetArrayFromImage(brain)[inside]
    )
    low, high = np.percentile(factor, (0.1, 99.9))
    assert 2.2 < high / low < 3.2  # the very ends of the brain are darker than 20


def test_what_is_cut_off_is_a_tenth(brain):
    first, last = extent(brain)
    height = last - first + 1
    top, bottom = (BY_NAME[f"{end} 10 % cut off"].image(brain) for end in ("top", "bottom"))
    assert extent(top)[1] - extent(top)[0] + 1 == pytest.approx(0.9 * height, abs=1)
    assert extent(bottom)[1] - extent(bottom)[0] + 1 == pytest.approx(0.9 * height, abs=1)
    assert top.GetOrigin() == brain.GetOrigin()
    assert bottom.GetOrigin()[2] > brain.GetOrigin()[2]
    corner = BY_NAME["left occipital 10 % missing"].image(brain)
    before, after = (sitk.GetArrayFromImage(image) > 0 for image in (brain, corner))
    assert after.sum() == pytest.approx(0.9 * before.sum(), rel=0.01)
    _, posterior, left = (np.argwhere(before & ~after) - np.argwhere(before).mean(0)).mean(0)
    assert min(posterior, left) > 10  # voxels of 2 mm


def test_slices_of_3_mm_are_means_of_what_they_cover():
    steps = np.repeat(np.arange(1, 7, dtype=np.uint8)[:, None, None] * 10, 4, 1).repeat(4, 2)
    thick = perturbations.thick_slices(sitk.GetImageFromArray(steps))
    assert thick.GetSpacing() == (1, 1, 3)
    assert sitk.GetArrayFromImage(thick)[:, 0, 0].tolist() == [20, 50]


def test_a_run_goes_on_where_it_was_stopped_and_its_table_has_every_change(tmp_path, monkeypatch, capsys):
    computed = []

    def row_of(one, fixed, moving, preset, folder):
        computed.append((one.name, fixed, moving))
        dices = {"aligned_dice": 0.4, "dice": 0.7 if source_is_nirep(fixed) else 0.6}
        distances = {"mean_mm": 0.25, "p99_mm": 1.0, "folded_percent": 0.1, "cpu_s": 1.0}
        named = {"preset": preset, "perturbation": one.name, "fixed": fixed, "moving": moving}
        return {**named, **dices, **distances, "verdict": "good", "reasons": ""}

    def there_and_back(fixed, moving, preset):
        computed.append((robustness.THERE_AND_BACK, fixed, moving))
        row = {"preset": preset, "perturbation": robustness.THERE_AND_BACK, "fixed": fixed, "moving": moving}
        return row | {"mean_mm": 2.0, "p99_mm": 7.0}

    def source_is_nirep(person):
        return person.startswith("nirep")

    monkeypatch.setattr(robustness, "row_of", row_of)
    monkeypatch.setattr(robustness, "there_and_back", there_and_back)
    asked = argparse.Namespace(**{**vars(ASKED), "output": tmp_path / "rows.csv"})
    robustness.run(argparse.Namespace(**{**vars(asked), "only": ["as it is", "3 % noise"]}))
    assert len(computed) == 2 * 4 + 2 * 2  # four pairs, two people with themselves
    robustness.run(asked)
    assert len(computed) == len(set(computed)) == len(list(robustness.wanted(None, 4)))
    robustness.run(argparse.Namespace(**{**vars(asked), "preset": "smooth", "minutes": -1}))
    assert "goes on from here" in capsys.readouterr().out
    table = robustness.table(robustness.rows(asked.output), "fast")
    assert "| as it is | 0.400, 0.700 | 0.400, 0.600 | 0.25 | 0.100 | 4 of 4 |" in table
    assert "| there and back | 2.000 | 7.000 |" in table
    assert all(f"| {name} |" in table for name in BY_NAME)

"""The verdict follows from the measures, and says why."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from ULAERegistrationLib.geometry.likeness import Likeness
from ULAERegistrationLib.quality import DO_NOT_USE, GOOD, LOOK, Quality

LIKE = Likeness(correlation=0.85, overlap=0.96, handedness=0.25)  # as a whole T1 brain in its place has


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

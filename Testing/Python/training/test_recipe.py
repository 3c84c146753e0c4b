"""Settings of training are read as they are written; those that no run can have are refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.training.recipe import Phase, TrainingSettings, read_recipe

RECIPES = sorted((Path(__file__).parents[3] / "docs" / "training").glob("*.json"))


@pytest.mark.parametrize("text", ["{", '{"stages": []}', '{"phases": [{"voxel_mm": 4}]}', "[]", '{"steps": 3}'])
def test_settings_that_are_no_recipe_are_refused_before_a_folder_is_made(tmp_path, capsys, text):
    (tmp_path / "recipe.json").write_text(text)
    (tmp_path / "pack.npz").touch()
    arguments = ["train", str(tmp_path / "pack.npz"), "-o", str(tmp_path / "run")]
    assert main([*arguments, "--settings", str(tmp_path / "recipe.json")]) == 1
    assert "The training settings cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smoothness", "0.5"),
        ("smoothness", -1),
        ("folding", float("nan")),
        ("labels", True),
        ("labels_a_step", 0),
        ("label_grids", 2),
        ("label_grids", [0]),
        ("precision", "float16"),
        ("seed", 1.5),
        ("seed", 2**70),
        ("seed", -1),
        ("average", 1.0),
        ("validate_every", 0),
        ("validation_people", "nirep-na04"),
        ("validation_people", [4]),
        ("phases", []),
        ("augmentation", {"noise": "much"}),
        ("augmentation", {"noise": -0.1}),
        ("augmentation", 3),
    ],
)
def test_a_value_that_no_run_can_have_is_refused(name, value):
    text = json.dumps(asdict(TrainingSettings()) | {name: value})
    with pytest.raises(RegistrationError, match="The training settings cannot be read"):
        TrainingSettings.from_json(text)


@pytest.mark.parametrize(
    "change",
    [{"voxel_mm": 3}, {"voxel_mm": "2"}, {"steps": 2.5}, {"steps": 0}, {"learning_rate": None}]
    + [{"windows": value} for value in (7, "753", [], [4], [7.0])],
)
def test_a_phase_that_cannot_be_trained_is_refused(change):
    phase = asdict(Phase(voxel_mm=2, steps=10, learning_rate=1e-3, windows=(7, 5, 3)))
    TrainingSettings.from_json(json.dumps({"phases": [phase]}))
    with pytest.raises(RegistrationError, match="The training settings cannot be read"):
        TrainingSettings.from_json(json.dumps({"phases": [phase | change]}))


def test_the_sentence_names_the_field_and_what_it_may_be():
    with pytest.raises(RegistrationError) as refusal:
        TrainingSettings.from_json('{"precision": "double"}')
    assert str(refusal.value) == (
        "The training settings cannot be read (precision is 'double', not one of ['float32', 'bfloat16']); give a JSON "
        "file as `ulae train` writes it."
    )


@pytest.mark.parametrize("file", RECIPES, ids=[file.stem for file in RECIPES])
def test_the_recipes_of_the_shipped_weights_are_read(file):
    settings = read_recipe(file)
    assert TrainingSettings.from_json(settings.to_json()) == settings
    assert TrainingSettings.from_json(replace(settings, seed=0).to_json()) == replace(settings, seed=0)

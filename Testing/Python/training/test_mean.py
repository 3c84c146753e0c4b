"""The mean of the weights of runs that led to one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.training.data import Brains
from ULAERegistrationLib.training.mean import mean
from ULAERegistrationLib.training.ship import ship
from ULAERegistrationLib.training.trainer import Trainer
from ULAERegistrationLib.training.validation import validate


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, packed, settings):
    """Weights of a run and of another that began with them."""
    folder = tmp_path_factory.mktemp("runs")
    Trainer(folder / "first", Brains(packed, settings.validation_people), settings).train()
    files = [folder / name / "last.safetensors" for name in ("first", "second")]
    start, card = load_network(files[0])
    second = replace(settings, seed=9)
    brains = Brains(packed, settings.validation_people)
    Trainer(folder / "second", brains, second, start=start, history=card.details["runs"]).train()
    return files


def test_the_mean_of_two_runs_is_validated_and_its_card_says_of_which_runs_it_is(tmp_path, two_runs, packed, settings):
    accuracy = mean(two_runs, packed, tmp_path / "mean.safetensors")
    averaged, card = load_network(tmp_path / "mean.safetensors")
    first, second = (load_network(file)[0].state_dict() for file in two_runs)
    for name, value in averaged.state_dict().items():
        assert torch.allclose(value, (first[name] + second[name]) / 2)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert validate(averaged, Brains(packed, settings.validation_people), 2) == accuracy
    assert [run.get("mean_of_runs") for run in card.details["runs"]] == [None, [1, 2]]
    shipped = ship(tmp_path / "mean.safetensors", tmp_path / "shipped.safetensors", licence="CC0-1.0")
    assert (shipped["runs"], shipped["accuracy"]) == (card.details["runs"], accuracy)


def test_runs_that_did_not_lead_to_one_another_have_no_mean(tmp_path, two_runs, packed, settings):
    Trainer(tmp_path / "other", Brains(packed, settings.validation_people), replace(settings, seed=3)).train()
    other = tmp_path / "other" / "last.safetensors"
    for files in ([other, two_runs[1]], two_runs[::-1], [two_runs[0]] * 2):
        with pytest.raises(RegistrationError, match="did not lead to one another"):
            mean(files, packed, tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()


def test_weights_whose_card_lists_no_runs_have_no_mean(tmp_path, two_runs, packed):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(two_runs[0].read_bytes())  # without its card
    for files in ([bare], [bare, two_runs[1]]):
        with pytest.raises(RegistrationError, match="did not lead to one another"):
            mean(files, packed, tmp_path / "mean.safetensors")

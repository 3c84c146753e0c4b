"""One step of training: what is lowered, how fast, in which precision, and what of it is saved."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.training import trainer as module
from ULAERegistrationLib.training.recipe import Phase
from ULAERegistrationLib.training.trainer import Trainer
from ULAERegistrationLib.training.validation import validate

pytestmark = pytest.mark.slow


def trainer_of(folder, brains, settings, **kwargs) -> Trainer:
    return Trainer(folder, brains, settings, log=lambda line: None, **kwargs)


def rough_network() -> ULAENet:
    """A network whose flows are so rough that they fold."""
    torch.manual_seed(0)
    network = ULAENet()
    for head in network.flow_heads:
        nn.init.normal_(head.weight, std=0.05)
    return network


def copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(("taught", "other"), [("known", "labels"), ("labels", "known")])
def test_the_loss_is_the_weighted_sum_of_its_terms_and_its_gradient_is_clipped(
    tmp_path, brains, settings, still, taught, other
):
    weights = {"similarity": 1.0, "smoothness": 0.5, "folding": 3.0, "known": 0.2, "labels": 1.5}
    settings = replace(
        settings,
        **{name: weight for name, weight in weights.items() if name != "similarity"},
        one_protocol=1.0 if taught == "labels" else 0.0,
        augmentation=replace(still, known=1.0, elastic=0.05),
    )
    trainer = trainer_of(tmp_path, brains, settings, start=rough_network())
    terms = trainer._step(brains.training_set(2), settings.phases[0])
    assert terms.pop("loss") == pytest.approx(sum(weights[name] * term for name, term in terms.items()), rel=1e-5)
    assert terms["similarity"] < -0.01
    assert all(terms[name] > 0.01 for name in ("smoothness", "folding", taught))
    assert terms[other] == 0
    gradient = torch.cat([parameter.grad.flatten() for parameter in trainer.network.parameters()])
    assert gradient.norm().item() == pytest.approx(1, abs=1e-4)


def test_a_run_whose_loss_is_no_number_ends_in_a_sentence(tmp_path, brains, settings, monkeypatch):
    """It went on without a word, and wrote weights that are no numbers over its checkpoint."""
    trainer = trainer_of(tmp_path, brains, settings)
    before = copied(trainer.network)
    monkeypatch.setattr(module, "total_loss", lambda terms, settings: terms["similarity"] * float("nan"))
    with pytest.raises(RegistrationError, match="The loss or its gradient is no number any more after 0 steps"):
        trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in trainer.network.state_dict().items())
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_rate_rises_at_first_and_then_falls_along_a_cosine_in_every_phase(tmp_path, brains, settings):
    first = Phase(voxel_mm=2, steps=200, learning_rate=0.01, windows=(3,), final_rate=0.1)
    second = replace(first, learning_rate=0.004, final_rate=0.5)
    trainer = trainer_of(tmp_path, brains, replace(settings, phases=(first, second)))
    images = brains.training_set(2)
    for phase, step, rate in ((first, 0, 0.01 / 50), (first, 100, 0.0055), (first, 200, 0.001), (second, 100, 0.003)):
        trainer.step = step
        trainer._step(images, phase)
        assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_run_in_the_precision_asked_for(tmp_path, brains, settings, precision):
    types = set()
    network = rough_network()
    network.fixed_path[0].convolution.register_forward_hook(lambda layer, given, result: types.add(result.dtype))
    trainer = trainer_of(tmp_path, brains, replace(settings, precision=precision), start=network)
    trainer._step(brains.training_set(2), settings.phases[0])
    assert types == {getattr(torch, precision)}
    validate(network, brains, 2, precision)
    assert types == {getattr(torch, precision)}


@pytest.mark.parametrize(("from_nothing", "decays"), [(False, (0.6, 0.6, 0.6)), (True, (1 / 10, 2 / 11, 3 / 12))])
def test_what_is_saved_is_the_running_average_of_what_was_trained(
    tmp_path, brains, settings, monkeypatch, from_nothing, decays
):
    """Random weights leave it within a few steps, over phases and over the parts of a run that is stopped."""
    monkeypatch.setattr(module, "validate", lambda *_: {})
    phase = replace(settings.phases[0], learning_rate=0.1)
    settings = replace(settings, phases=(phase, replace(phase, steps=1)), average=0.6)
    trainer = trainer_of(tmp_path, brains, settings, start=None if from_nothing else rough_network())
    start = copied(trainer.network)
    average = start
    for decay in decays:
        trainer.train(seconds=0)  # one step
        trained = copied(trainer.network)
        average = {name: decay * value + (1 - decay) * trained[name] for name, value in average.items()}
        trainer = trainer_of(tmp_path, brains, settings)
    for file in ("weights", "last"):
        saved = load_network(tmp_path / f"{file}.safetensors")[0].state_dict()
        assert all((saved[name] - value).abs().max() > 1e-4 for name, value in start.items() if value.dim() > 1)
        for name, value in average.items():
            torch.testing.assert_close(saved[name], value)


def test_the_weights_that_match_best_are_kept_beside_the_last(tmp_path, brains, settings, monkeypatch):
    scores = [{"dice_nirep": nirep, "dice_oasis": 0.4, "folding_nirep": 9 - nirep} for nirep in (0.5, 0.6, 0.3)]
    said = iter(scores)
    monkeypatch.setattr(module, "validate", lambda *_: next(said))
    settings = replace(settings, phases=(replace(settings.phases[0], steps=3),), validate_every=1)
    trainer_of(tmp_path, brains, settings).train()
    (best, best_card), (last, last_card) = (load_network(tmp_path / f"{n}.safetensors") for n in ("weights", "last"))
    assert best_card.details["runs"][-1]["accuracy"] == scores[1]
    assert last_card.details["runs"][-1]["accuracy"] == scores[2]
    assert any(not torch.equal(value, last.state_dict()[name]) for name, value in best.state_dict().items())

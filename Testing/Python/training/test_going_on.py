"""A run that was stopped goes on as if it had not been, and with nothing but its own."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from training_runs import curve, train

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.weights import SHIPPED, load_network
from ULAERegistrationLib.training.data import Brains
from ULAERegistrationLib.training.trainer import Trainer

pytestmark = pytest.mark.slow


def test_a_run_that_was_stopped_goes_on_to_the_same_end(tmp_path, brains, settings):
    phase = replace(settings.phases[0], learning_rate=0.1)
    settings = replace(settings, phases=(phase,), average=0.5, validate_every=1)
    history = [{"cpu_hours": 7.5}]
    whole = train(tmp_path / "whole", brains, settings, history=history)
    begins_with = {"history": history, "licence": "for research alone"}
    stopped = Trainer(tmp_path / "stopped", brains, settings, **begins_with, log=lambda line: None)
    stopped.train(seconds=0)
    assert stopped.step == 1
    resumed = train(tmp_path / "stopped", brains, settings)
    for values, expected in (
        (resumed.network.state_dict(), whole.network.state_dict()),
        (resumed.average, whole.average),
    ):
        for name, value in expected.items():
            torch.testing.assert_close(values[name], value, atol=1e-6, rtol=1e-4)
    assert resumed.best == pytest.approx(whole.best)
    assert resumed.history == history
    licences = [load_network(tmp_path / name / "last.safetensors")[1].licence for name in ("stopped", "whole")]
    assert licences == ["for research alone", "unknown"]
    rows, expected = (curve(tmp_path / name) for name in ("stopped", "whole"))
    assert [row["step"] for row in rows] == [1, 2]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], abs=1e-4)


def test_a_run_that_begins_with_the_weights_of_others_draws_other_pairs(tmp_path, brains, settings):
    images = brains.training_set(2)
    histories = ([], [{}], [{}, {}])
    runs = [Trainer(tmp_path / str(len(h)), brains, settings, history=h, log=lambda line: None) for h in histories]
    runs.append(Trainer(tmp_path / "start", brains, settings, start=load_network()[0], log=lambda line: None))
    first, second, third, unlisted = (run.pairs.draw(images, 2).fixed for run in runs)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not torch.equal(first, unlisted)
    again = Trainer(tmp_path / "again", brains, settings, history=[{}], log=lambda line: None)
    assert torch.equal(again.pairs.draw(images, 2).fixed, second)


def test_a_run_that_is_stopped_before_its_first_validation_leaves_weights(tmp_path, brains, settings):
    stopped = Trainer(tmp_path, brains, settings, log=lambda line: None)
    stopped.train(seconds=0)
    assert not (tmp_path / "curve.csv").exists()
    for name in ("weights", "last"):
        network, card = load_network(tmp_path / f"{name}.safetensors")
        assert all(torch.equal(value, stopped.average[key]) for key, value in network.state_dict().items())
        assert card.details["runs"][0]["accuracy"] == {}
        assert card.details["runs"][0]["people"] == brains.training_people


def test_a_run_that_is_stopped_between_validations_keeps_its_best_weights_beside_its_last(tmp_path, brains, settings):
    settings = replace(settings, phases=(replace(settings.phases[0], steps=4),), validate_every=2)
    for _ in range(3):
        trainer = Trainer(tmp_path, brains, settings, log=lambda line: None)
        trainer.train(seconds=0)
    (best, best_card), (last, last_card) = (load_network(tmp_path / f"{n}.safetensors") for n in ("weights", "last"))
    assert all(torch.equal(value, trainer.average[key]) for key, value in last.state_dict().items())
    assert last_card.details["runs"][0]["accuracy"] == {}
    assert any(not torch.equal(value, trainer.average[key]) for key, value in best.state_dict().items())
    assert best_card.details["runs"][0]["accuracy"].keys() == {"dice_nirep", "folding_nirep"}


def test_a_run_goes_on_with_its_own_settings_and_no_others(tmp_path, packed, settings, capsys):
    (tmp_path / "recipe.json").write_text(settings.to_json())
    (tmp_path / "other.json").write_text(replace(settings, smoothness=7.0, average=0.5).to_json())
    run = tmp_path / "run"
    command = ["train", str(packed), "-o", str(run), "--device", "cpu", "--minutes", "0.0001"]
    assert main([*command, "--settings", str(tmp_path / "recipe.json")]) == 0
    begun = (run / "settings.json").read_text()
    checkpoint = (run / "checkpoint.pt").read_bytes()
    assert main([*command, "--settings", str(tmp_path / "other.json")]) == 1
    assert "was begun with other settings (smoothness, average); go on without --settings" in capsys.readouterr().err
    assert (run / "settings.json").read_text() == begun
    assert (run / "checkpoint.pt").read_bytes() == checkpoint
    assert main(command) == 0
    assert (run / "settings.json").read_text() == begun
    assert [row["step"] for row in curve(run)] == [2]


def test_a_run_goes_on_from_the_weights_that_it_was_begun_from_and_no_others(tmp_path, packed, settings, capsys):
    (tmp_path / "recipe.json").write_text(settings.to_json())
    first, second = tmp_path / "first", tmp_path / "second"
    command = ["train", str(packed), "--device", "cpu", "--minutes", "0.0001", "-o"]
    recipe = ["--settings", str(tmp_path / "recipe.json")]
    shipped, own = (["--start-from", str(file)] for file in (SHIPPED, first / "last.safetensors"))
    assert main([*command, str(first), *recipe]) == 0
    begun = [*command, str(second), *recipe, *shipped]
    assert main(begun) == 0
    checkpoints = [(run / "checkpoint.pt").read_bytes() for run in (first, second)]
    capsys.readouterr()
    for run, start in ((first, shipped), (first, own), (second, own)):
        assert main([*command, str(run), *start]) == 1
        assert f"The run in {run} was not begun from these weights; go on without" in capsys.readouterr().err
    assert [(run / "checkpoint.pt").read_bytes() for run in (first, second)] == checkpoints
    assert main(begun) == 0
    assert "going on from phase 0, step 1" in capsys.readouterr().out


def test_ctrl_c_ends_a_run_after_its_step_with_weights_and_a_checkpoint(
    tmp_path, packed, settings, capsys, monkeypatch
):
    step = Trainer._step

    def interrupted(trainer: Trainer, *arguments) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # which a group of processes gets with it
        return step(trainer, *arguments)

    (tmp_path / "recipe.json").write_text(settings.to_json())
    run, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    command = ["train", str(packed), "-o", str(run), "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        assert main([*command, "--settings", str(tmp_path / "recipe.json")]) == 1
    assert capsys.readouterr().err == (
        "ulae: stopping after this step; once more after 5 s stops at once\n"
        f"ulae: stopped; the weights so far are in {run}, and the same call goes on from there\n"
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert load_network(run / "weights.safetensors")[1].details["runs"][0]["accuracy"] == {}
    assert main(command) == 0
    assert "going on from phase 0, step 1" in capsys.readouterr().out
    assert [row["step"] for row in curve(run)] == [2]


def test_a_run_does_not_go_on_with_other_people_or_from_what_is_no_checkpoint(tmp_path, packed, brains, settings):
    train(tmp_path, brains, settings)
    fewer = Brains(packed)
    fewer.training_people.remove("made-up1")
    with pytest.raises(
        RegistrationError, match=r"begun on other people .* \(made-up1 is in one alone\); give the data"
    ):
        Trainer(tmp_path, fewer, settings)
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RegistrationError, match="is damaged, or an earlier version wrote it; begin a new"):
        Trainer(tmp_path, brains, settings)

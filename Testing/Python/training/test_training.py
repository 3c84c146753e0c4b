"""Training lowers the loss, and goes on from where it stopped as if it had not."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.dataset.sources import SOURCES, VALIDATION_PEOPLE
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.flows.warp import compose_all, warp
from ULAERegistrationLib.network.weights import SHIPPED, load_network
from ULAERegistrationLib.training.data import Brains
from ULAERegistrationLib.training.losses import multi_window_loss
from ULAERegistrationLib.training.recipe import TrainingSettings
from ULAERegistrationLib.training.ship import ship
from ULAERegistrationLib.training.trainer import Trainer

pytestmark = pytest.mark.slow


def train(folder, brains, settings, **kwargs) -> Trainer:
    trainer = Trainer(folder, brains, settings, log=lambda line: None, **kwargs)
    trainer.train()
    return trainer


def curve(folder) -> list[dict[str, float]]:
    with (folder / "curve.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_the_pack_holds_the_brains_and_keeps_validation_people_apart(brains):
    assert brains.training_people == ["made-up1", "nirep-na01", "nirep-na02"]
    assert brains.labelled == {"nirep": [1, 2]}
    assert brains.training_set(4).shape == (3, 1, 16, 16, 16)
    image = brains.image("made-up1")
    assert image.shape == (1, 1, 64, 64, 64)
    assert 0.8 < image.max() <= 1
    assert brains.validation_pairs() == [("nirep-na04", "nirep-na16"), ("nirep-na16", "nirep-na04")]


def test_training_needs_torch_and_numpy_alone():
    """A lent machine with a GPU has no SimpleITK and no matplotlib, and nothing can be installed there."""
    program = """
import sys
for name in ("SimpleITK", "matplotlib", "tqdm", "vtk", "slicer"):
    sys.modules[name] = None
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.training import augmentation, data, extractor, mean, parallel, recipe, trainer
sys.exit(main(["train", "nowhere.npz", "-o", "run"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "ulae: The packed data nowhere.npz does not exist; make it with `ulae train --pack`.\n"


def test_a_folder_in_place_of_a_pack_is_refused_with_the_command_that_packs_it(tmp_path, capsys):
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "run")]) == 1
    assert f"is a folder; pack its brains first: ulae train --pack {tmp_path} -o brains.npz" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["0", "-0", "-3", "nan"])
def test_a_time_that_is_not_above_0_is_refused(tmp_path, capsys, minutes):
    assert main(["train", "nowhere.npz", "-o", str(tmp_path / "run"), f"--minutes={minutes}"]) == 2
    assert "is no time to train; give a number above 0, or leave it out." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_real_brains_split_by_person(data_folder):
    people = {path.name.removesuffix("_t1.nii.gz") for path in (data_folder / "brains").glob("*_t1.nii.gz")}
    assert set(VALIDATION_PEOPLE) <= people
    assert len(people) == 82


def test_training_makes_brains_match_better(tmp_path, brains, still, settings):
    """Begun from the shipped weights, as a network from nothing needs hundreds of steps before it moves anything."""
    settings = replace(
        settings,
        phases=(replace(settings.phases[0], steps=8),),
        augmentation=still,
    )
    trainer = Trainer(tmp_path, brains, settings, start=load_network()[0], log=lambda line: None)
    generator = torch.Generator().manual_seed(5)

    def bumps(channels: int, controls: int) -> torch.Tensor:
        coarse = torch.rand(1, channels, *[controls] * 3, generator=generator)
        return F.interpolate(coarse, size=(32, 32, 32), mode="trilinear", align_corners=True)

    blobs = bumps(1, 11)
    images = torch.cat([warp(blobs, 7 * (bumps(3, 4) - 0.5), "border") for _ in range(3)])

    def similarity() -> float:
        with torch.no_grad():
            flow = compose_all(trainer.network(fixed=images[1:2], moving=images[:1]))
            return -multi_window_loss(images[1:2], warp(images[:1], flow), (5, 3)).item()

    before = similarity()
    for _ in range(8):
        trainer._step(images, settings.phases[0])
        trainer.step += 1
    assert similarity() > before + 0.03


def test_a_run_leaves_weights_that_load_its_curve_and_its_recipe(tmp_path, brains, settings):
    settings = replace(settings, phases=(replace(settings.phases[0], steps=1),))
    train(tmp_path, brains, settings, history=[{"cpu_hours": 7.5, "people": ["nirep-na01"]}])
    network, card = load_network(tmp_path / "weights.safetensors")
    assert card.voxel_mm == 2
    before, run = card.details["runs"]
    assert before == {"cpu_hours": 7.5, "people": ["nirep-na01"]}
    assert "dice_nirep" in run["accuracy"]
    assert TrainingSettings.from_json(json.dumps(run["recipe"])) == settings
    assert not network.training
    (row,) = curve(tmp_path)
    assert row["loss"] < 0
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert TrainingSettings.from_json((tmp_path / "settings.json").read_text()) == settings
    assert load_network(tmp_path / "last.safetensors")[1].details["runs"] == card.details["runs"]
    with pytest.raises(RegistrationError, match="people of made, whose terms are not known"):
        ship(tmp_path / "weights.safetensors", tmp_path / "shipped.safetensors")
    shipped = ship(tmp_path / "weights.safetensors", tmp_path / "shipped.safetensors", licence="CC0-1.0")
    assert shipped["licence"] == "CC0-1.0"
    assert shipped["training_data"] == "3 people, one T1 scan each: made 1, nirep 2"
    assert shipped["labels"].startswith("No manual label was used")
    assert shipped["citations"] == [*SOURCES["nirep"]]
    assert load_network(tmp_path / "shipped.safetensors")[1].details["accuracy"] == run["accuracy"]
    assert len(shipped["runs"]) == 2
    assert 7.5 <= shipped["cpu_hours"] < 8


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


def test_labels_teach_only_where_they_are_asked_for_and_there(tmp_path, brains, settings):
    images = brains.training_set(2)
    taught = Trainer(tmp_path / "a", brains, replace(settings, labels=1.5, one_protocol=1.0), log=lambda line: None)
    assert taught.pairs.draw(images, 2).moving_labels is not None
    assert 0 < taught._step(images, settings.phases[0])["labels"] < 1
    plain = Trainer(tmp_path / "b", brains, settings, log=lambda line: None)
    assert all(plain.pairs.draw(images, 2).moving_labels is None for _ in range(5))
    assert plain._step(images, settings.phases[0])["labels"] == 0


def test_the_only_labelled_person_of_a_source_teaches_without_labels(tmp_path, pack_people, settings):
    labelled = ("nirep-na01", "nirep-na02", "oasis-1101")
    brains = Brains(pack_people(labelled, labelled))
    assert brains.labelled == {"nirep": [0, 1]}
    settings = replace(settings, labels=1.5, one_protocol=1.0)
    trainer = Trainer(tmp_path, brains, settings, log=lambda line: None)
    images = brains.training_set(2)
    assert all(trainer.pairs.draw(images, 2).moving_labels is not None for _ in range(8))
    assert trainer.pairs.taught_by() == ["nirep-na01", "nirep-na02"]
    alone = Brains(pack_people(labelled, labelled[:1]))
    assert Trainer(tmp_path, alone, settings, log=lambda line: None).pairs.draw(images, 2).moving_labels is None


def test_the_tissues_of_painted_pairs_teach_as_labels_do(tmp_path, packed, settings):
    brains = Brains(packed)
    generator = torch.Generator().manual_seed(2)
    blocks = torch.randint(0, 4, (2, 4, 4, 4), generator=generator).repeat_interleave(16, 1)
    brains.tissues = list(blocks.repeat_interleave(16, 2).repeat_interleave(16, 3).byte())
    settings = replace(settings, labels=1.5, one_protocol=0.0, painted_pairs=1.0)
    trainer = Trainer(tmp_path, brains, settings, log=lambda line: None)
    images = brains.training_set(2)
    pair = trainer.pairs.draw(images, 2)
    assert pair.flow is None
    assert set(pair.fixed_labels.unique().tolist()) == {0, 1, 2, 3}
    shown = [pair.fixed[pair.fixed_labels == tissue].mean() for tissue in (1, 2, 3)]  # white matter, cortex, ventricle
    assert shown[0] > shown[1] + 0.1 > shown[2] + 0.2
    assert 0 < trainer._step(images, settings.phases[0])["labels"] < 1


def test_without_two_heads_to_paint_no_more_pairs_have_labels(tmp_path, packed, settings):
    brains = Brains(packed)
    brains.tissues = [torch.zeros(64, 64, 64, dtype=torch.uint8)]
    settings = replace(settings, labels=1.5, one_protocol=0.0, painted_pairs=1.0)
    trainer = Trainer(tmp_path, brains, settings, log=lambda line: None)
    images = brains.training_set(2)
    assert all(trainer.pairs.draw(images, 2).moving_labels is None for _ in range(5))


def test_only_the_cortical_labels_of_a_protocol_are_taught(packed):
    brains = Brains(packed)
    labels = brains.labels("nirep-na01")
    labels[:32], labels[32:] = 40, 7  # NIREP's cortical labels are 1 to 32
    assert brains.cortical_map("nirep-na01", 4).unique().tolist() == [0, 7]


def test_labels_of_an_own_numbering_are_all_taught_and_validate(tmp_path, pack_people, settings):
    """Names without a hyphen are of one source; FreeSurfer's numbers are beyond what a byte holds."""
    people = ("ann", "bob", "cid", "dan")
    brains = Brains(pack_people(people, people, numbers=(7, 2035)), ("cid", "dan"))
    assert brains.labelled == {"own": [0, 1]}
    assert brains.cortical_map("ann").unique().tolist() == [7, 2035]
    settings = replace(settings, labels=1.5, one_protocol=1.0, validation_people=("cid", "dan"))
    trainer = train(tmp_path, brains, settings)
    assert trainer.pairs.taught_by() == ["ann", "bob"]
    (row,) = curve(tmp_path)
    assert row["labels"] > 0
    assert 0 < row["dice_own"] < 1


def test_a_run_names_its_own_validation_people(tmp_path, packed, settings):
    settings = replace(settings, validation_people=("nirep-na01", "nirep-na02"))
    brains = Brains(packed, settings.validation_people)
    assert brains.training_people == ["made-up1", "nirep-na04", "nirep-na16"]
    assert brains.validation_pairs() == [("nirep-na01", "nirep-na02"), ("nirep-na02", "nirep-na01")]
    assert TrainingSettings.from_json(settings.to_json()) == settings
    said: list[str] = []
    Trainer(tmp_path, brains, settings, log=said.append)
    assert said == ["train: made-up1, nirep-na04, nirep-na16; validate: nirep-na01, nirep-na02"]


def test_a_validation_person_whom_the_pack_lacks_is_refused(tmp_path, packed, settings, capsys):
    settings = replace(settings, validation_people=("nirep-na01", "nirep-n02"))
    (tmp_path / "recipe.json").write_text(settings.to_json())
    arguments = ["train", str(packed), "-o", str(tmp_path / "run"), "--settings", str(tmp_path / "recipe.json")]
    assert main([*arguments, "--minutes", "0.0001"]) == 1
    assert "pack.npz lacks nirep-n02 of the settings' validation_people" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_validation_people_without_labels_that_compare_are_left_out_and_named(tmp_path, pack_people, settings):
    """Without labels, or without a labelled partner: none trains, none validates."""
    people = ("ann-1", "nirep-1", "nirep-2", "oasis-1")
    brains = Brains(pack_people((*people, "mine-1", "mine-2"), ("ann-1", "nirep-1", "oasis-1")), people)
    said: list[str] = []
    Trainer(tmp_path, brains, settings, log=said.append).train()
    assert said[0] == (
        "train: mine-1, mine-2; validate: nobody, so the newest weights count; left out without validating, as they "
        "have no labelled partner of their source: ann-1, nirep-1, nirep-2, oasis-1"
    )
    assert load_network(tmp_path / "weights.safetensors")[1].details["runs"][0]["accuracy"] == {}

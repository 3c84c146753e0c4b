"""Labels teach where they are asked for, and people validate whom the run names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_runs import curve, train

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.dataset.sources import VALIDATION_PEOPLE
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.training.data import Brains
from ULAERegistrationLib.training.recipe import TrainingSettings
from ULAERegistrationLib.training.trainer import Trainer

pytestmark = pytest.mark.slow


def test_the_pack_holds_the_brains_and_keeps_validation_people_apart(brains):
    assert brains.training_people == ["made-up1", "nirep-na01", "nirep-na02"]
    assert brains.labelled == {"nirep": [1, 2]}
    assert brains.training_set(4).shape == (3, 1, 16, 16, 16)
    image = brains.image("made-up1")
    assert image.shape == (1, 1, 64, 64, 64)
    assert 0.8 < image.max() <= 1
    assert brains.validation_pairs() == [("nirep-na04", "nirep-na16"), ("nirep-na16", "nirep-na04")]


def test_the_real_brains_split_by_person(data_folder):
    people = {path.name.removesuffix("_t1.nii.gz") for path in (data_folder / "brains").glob("*_t1.nii.gz")}
    assert set(VALIDATION_PEOPLE) <= people
    assert len(people) == 82


def test_labels_teach_only_where_they_are_asked_for_and_there(tmp_path, brains, settings):
    images = brains.training_set(2)
    taught = Trainer(tmp_path / "a", brains, replace(settings, labels=1.5, one_protocol=1.0), log=lambda line: None)
    assert taught.pairs.draw(images, 2).moving_labels is not None
    assert 0 < taught._step(images, settings.phases[0])["labels"] < 1
    plain = Trainer(tmp_path / "b", brains, settings, log=lambda line: None)
    assert all(plain.pairs.draw(images, 2).moving_labels is None for _ in range(5))
    assert plain._step(images, settings.phases[0])["labels"] == 0


def test_labels_of_which_no_pair_is_drawn_teach_nobody(tmp_path, packed, settings):
    taught = replace(settings, labels=1.5)
    brains = Brains(packed)
    brains.tissues = [torch.zeros(64, 64, 64, dtype=torch.uint8)] * 2
    for number, never in enumerate(({"one_protocol": 0.0}, {"painted_pairs": 1.0})):
        trainer = Trainer(tmp_path / str(number), brains, replace(taught, **never), log=lambda line: None)
        assert trainer.pairs.taught_by() == []
    assert Trainer(tmp_path / "taught", brains, taught, log=lambda line: None).pairs.taught_by()


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

"""The card of shipped weights says what all runs that led to them were made from."""

from __future__ import annotations

import pytest

from ULAERegistrationLib.dataset.sources import LABEL_MAPS, LICENCE, SOURCES
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.network.weights import SHIPPED, load_network, save_network
from ULAERegistrationLib.training.ship import ship

UNLISTED = {"cpu_hours": 1.5}  # as the project's first runs


def run_on(*people: str, labelled=(), heads=0, validation=("nirep-na04",)) -> dict:
    return {
        "recipe": {"validation_people": list(validation)},
        "cpu_hours": 0.5,
        "accuracy": {"dice_nirep": 0.7},
        "people": list(people),
        "labelled_people": list(labelled),
        "heads": heads,
    }


def shipped(folder, *runs, **kwargs) -> dict:
    save_network(ULAENet(), folder / "weights.safetensors", {"voxel_mm": 1, "runs": list(runs)})
    return ship(folder / "weights.safetensors", folder / "shipped.safetensors", **kwargs)


def test_the_card_tells_the_people_labels_and_citations_of_every_run(tmp_path):
    first = run_on("nirep-na01", "nirep-na02", labelled=["nirep-na01"], heads=20)
    card = shipped(tmp_path, first, run_on("nirep-na02", "vxm-test", labelled=["nirep-na02"]), run_on("jhu-eve"))
    assert card["training_data"] == (
        "4 people, one T1 scan each: jhu 1, nirep 2, vxm 1; and brains painted from 20 label maps of heads"
    )
    assert card["labels"].startswith("Manual labels of 2 training people are in the loss (nirep-na01, nirep-na02);")
    assert card["citations"] == [*SOURCES["nirep"], *SOURCES["vxm"], *SOURCES["jhu"], LABEL_MAPS]
    assert card["licence"] == LICENCE
    assert card["cpu_hours"] == 1.5
    assert "Trained on 4 people, on cpu." in card["limits"]


def test_the_licence_is_asked_for_where_any_run_was_on_data_of_others(tmp_path):
    runs = run_on("ann-1", "ann-2"), run_on("nirep-na01")
    with pytest.raises(RegistrationError, match="people of ann, whose terms are not known here; say the weights'"):
        shipped(tmp_path, *runs)
    assert shipped(tmp_path, *runs, licence="CC0-1.0")["licence"] == "CC0-1.0"


def test_runs_that_do_not_list_their_people_were_on_the_projects_own(tmp_path):
    card = shipped(tmp_path, UNLISTED, run_on("jhu-eve"))
    assert card["licence"] == LICENCE
    assert card["training_data"].endswith("and people of the project's own data, not listed by 1 of the runs")
    assert set(card["citations"]) == {*(citation for source in SOURCES.values() for citation in source), LABEL_MAPS}


def test_validation_people_of_the_last_run_whom_an_earlier_one_was_trained_on_are_named(tmp_path):
    runs = run_on("nirep-na01", "nirep-na04"), run_on("nirep-na01", validation=("nirep-na04", "nirep-na16"))
    assert "Earlier runs were trained on nirep-na04 of the validation people." in shipped(tmp_path, *runs)["limits"]


def test_the_shipped_card_made_again_tells_what_it_tells(tmp_path):
    card = load_network(SHIPPED)[1].details
    again = ship(SHIPPED, tmp_path / "shipped.safetensors")
    names = ("licence", "labels", "validation_people", "accuracy", "accuracy_is", "cpu_hours", "limits", "citations")
    for name in (*names, "runs"):
        assert again[name] == card[name]
    assert again["training_data"].startswith(card["training_data"])

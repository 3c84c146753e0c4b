"""What tells halves from each other is learned from some people and holds for others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.likeness import block_means
from ULAERegistrationLib.shipped import MODELS
from ULAERegistrationLib.training import handedness
from ULAERegistrationLib.training.handedness import discriminant, held_out_scores


@pytest.fixture
def differences():
    """Of 30 people: a weak common part in much of their own, and some of it, common too, that tells nothing."""
    random = np.random.default_rng(0)
    common, idle = random.normal(size=(2, 4000))
    own = random.normal(size=(30, 4000))
    return 0.3 * common + 3 * random.normal(size=(30, 1)) * idle + own


@pytest.mark.parametrize("people", ["abcde" * 6, "a" * 20 + "bcdef" * 2])
def test_people_are_told_from_their_mirror_images_by_what_others_taught(differences, people):
    """Their plain mean does not tell them."""
    scores = held_out_scores(differences, list(people))
    assert (scores > 0).all()
    plain = [np.delete(differences, one, 0).mean(0) @ differences[one] for one in range(len(people))]
    assert (np.array(plain) < 0).any()
    assert np.allclose(held_out_scores(-differences, list(people)), scores)


def test_the_strength_of_a_persons_differences_does_not_matter(differences):
    found = discriminant(differences)
    assert np.allclose(discriminant(differences * np.linspace(1, 50, 30)[:, None]), found)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_the_command_writes_what_the_likeness_reads(tmp_path, monkeypatch):
    (tmp_path / "brains").mkdir()
    values = sitk.GetArrayFromImage(template())
    for number in range(4):
        image = sitk.GetImageFromArray(np.roll(values, number, 1))
        sitk.WriteImage(image, str(tmp_path / "brains" / f"person{number}-a_t1.nii.gz"))
    monkeypatch.setattr("sys.argv", ["handedness", str(tmp_path), "-o", str(tmp_path)])
    handedness.main()
    written = np.load(tmp_path / "handedness.npy")
    assert (written.shape, written.dtype) == ((20, 48, 40), np.int8)
    blocks = block_means(values.transpose(2, 1, 0))
    expected = (blocks - blocks[::-1])[:20]
    assert np.corrcoef(written.ravel(), expected.ravel())[0, 1] > 0.5
    assert json.loads((tmp_path / "handedness.json").read_text())["held_out"]["wrong_side"] == 0


def test_the_shipped_one_names_its_people_and_how_well_it_tells_those_held_out():
    card = json.loads((MODELS / "handedness.json").read_text())
    assert len(card["people"]) == 78
    assert not set(card["people"]) & set(card["left_out_for_validation"])
    assert card["held_out"]["wrong_side"] == 0

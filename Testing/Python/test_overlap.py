"""Overlap of label maps is SimpleITK's, whatever the labels' numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.overlap import dice, dice_by_name


def test_dice_is_simpleitks_on_two_real_label_maps(data_folder: Path) -> None:
    a, b = (sitk.ReadImage(str(data_folder / f"brains/nirep-na{who}_seg.nii.gz")) for who in ("16", "04"))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(a, b)
    found = dice(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))
    assert len(found) == 33
    assert found == pytest.approx({label: overlap.GetDiceCoefficient(label) for label in found}, abs=1e-9)


def test_dice_counts_labels_that_one_map_lacks_and_leaves_out_background() -> None:
    a, b = np.array([[0, 1, 1, 12175]]), np.array([[0, 1, 7, 0]], np.uint8)
    assert dice(a, b) == pytest.approx({1: 2 / 3, 7: 0.0, 12175: 0.0})


def test_numbers_of_hundreds_of_millions_need_no_memory_of_that_size() -> None:
    """ANTsPy #574."""
    labels = np.array([[0, 614_454_277, 614_454_277, 5]], np.uint32)
    assert dice(labels, labels) == {5: 1.0, 614_454_277: 1.0}


def test_negative_numbers_are_no_labels_and_two_empty_maps_have_none() -> None:
    """nnU-Net #2381."""
    assert dice(np.array([-1, -1, 2], np.int16), np.array([0, -1, 2], np.int16)) == {2: 1.0}
    assert dice(np.zeros(5, np.uint8), np.zeros(5, np.int16)) == {}


def test_dice_by_name_is_simpleitks_whatever_number_a_label_has_in_the_second_map() -> None:
    a = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 5, (9, 10, 11), np.int32))
    b = sitk.GetImageFromArray(np.random.default_rng(1).integers(0, 5, (9, 10, 11), np.int32))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(a, b)
    names = {f"region {label}": label for label in range(1, 5)}
    far = {name: 400_000_000 + 7 * label for name, label in names.items()}
    changed = sitk.GetArrayFromImage(sitk.ChangeLabel(b, {label: far[name] for name, label in names.items()}))
    found = dice_by_name(sitk.GetArrayFromImage(a), names | {"elsewhere": 9}, changed, far | {"nowhere": 10})
    assert found == pytest.approx({name: overlap.GetDiceCoefficient(label) for name, label in names.items()})


def test_dice_by_name_leaves_out_negative_numbers_and_what_is_empty_in_both() -> None:
    a, b = np.array([1, -1, -1, 0, 0], np.int32), np.array([-1, -1, 1, 0, 2], np.int32)
    names = {str(label): label for label in (-1, 1, 2, 3)}
    assert dice_by_name(a, names, b, names) == {"1": 0.0, "2": 0.0}
    assert dice_by_name(a, names, np.zeros_like(a), names) == {"1": 0.0}


def test_fractions_and_maps_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        dice(np.array([0.5, 1.0]), np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="one shape"):
        dice(np.zeros(3, np.uint8), np.zeros(4, np.uint8))

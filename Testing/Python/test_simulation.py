"""The simulated subject is the one that Slicer offers, and its painted head is one whose brain is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib.geometry.brain import find_brain
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.cut import cut_sides
from ULAERegistrationLib.network.brain_extraction import extract_brain
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.simulation import SimulatedPair, paint_head


def read_array(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_the_subject_that_slicer_offers_as_sample_data_is_the_simulated_one(simulated):
    shipped = read_array(
        Path(__file__).parents[2] / "ULAERegistration/Resources/SampleData/ULAESimulatedSubject.nii.gz"
    )
    difference = shipped.astype(float) - read_array(simulated.fixed)
    assert np.abs(difference).max() <= 1  # other processors round otherwise


def test_the_head_that_the_demo_paints_has_its_brain_where_the_true_map_holds_and_it_is_found(simulated):
    subject, brain = sitk.ReadImage(str(simulated.fixed)), sitk.ReadImage(str(simulated.fixed_mask))
    head = paint_head(SimulatedPair(subject, template(), simulated.truth, brain))
    inside = sitk.GetArrayViewFromImage(brain) > 0
    kept = sitk.Resample(head, subject, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert (sitk.GetArrayViewFromImage(kept)[inside] == sitk.GetArrayViewFromImage(subject)[inside]).all()
    found = find_brain(head, extract_brain)
    assert cut_sides(found) == []
    mask = sitk.Resample(brain, head, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert dice(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(mask))[1] > 0.95

"""The data sets the module adds to Slicer's Sample Data module."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from ULAERegistrationLib.geometry.canonical import template


@pytest.fixture
def sources(module, monkeypatch) -> dict:
    """What Sample Data was told, by sample name."""
    told = {}
    sample_data = types.ModuleType("SampleData")

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category, sampleName, thumbnailFileName=None, nodeNames=None, customDownloader=None
        ):
            told[sampleName] = (category, thumbnailFileName, customDownloader)

    sample_data.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    slicer.app.startupCompleted.emit()
    return told


def test_a_pair_is_offered_with_pictures(sources):
    assert set(sources) == {"ULAE template", "ULAE simulated subject"}
    assert {category for category, _, _ in sources.values()} == {"ULAE Registration"}
    assert all(Path(picture).is_file() for _, picture, _ in sources.values())


def test_the_template_is_the_shipped_one(sources, scene):
    node = sources["ULAE template"][2](None)
    assert np.array_equal(slicer.util.arrayFromVolume(node), sitk.GetArrayFromImage(template()))


def test_the_subject_is_somebody_else_in_another_place(sources, scene, simulated_once):
    node = sources["ULAE simulated subject"][2](None)
    assert node.GetName() == "ULAESimulatedSubject"
    assert node.GetImageData().GetDimensions() != template().GetSize()


def test_a_slicer_without_sample_data_is_no_error(module, monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    slicer.app.startupCompleted.emit()

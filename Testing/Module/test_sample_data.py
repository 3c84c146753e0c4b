"""The data sets the module adds to Slicer's Sample Data module."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import SampleData
import SimpleITK as sitk
import slicer

from ULAERegistrationLib.geometry.canonical import template

TEMPLATE, SUBJECT = "ULAE template", "ULAE simulated subject"
SHIPPED = Path(__file__).parents[2] / "ULAERegistration/Resources/SampleData/ULAESimulatedSubject.nii.gz"


@pytest.fixture
def sources(module, monkeypatch) -> dict:
    """What Sample Data was told at the start of the application, by sample name."""
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    slicer.app.startupCompleted.emit()
    return {source.sampleName: source for source in slicer.modules.sampleDataSources["ULAE Registration"]}


def test_a_pair_is_offered_with_pictures(sources):
    assert set(sources) == {TEMPLATE, SUBJECT}
    assert all(Path(source.thumbnailFileName).is_file() for source in sources.values())


def test_a_second_start_offers_nothing_twice(sources):
    slicer.app.startupCompleted.emit()
    assert len(slicer.modules.sampleDataSources["ULAE Registration"]) == 2


def test_the_template_is_the_shipped_one(sources, scene):
    node = SampleData.SampleDataLogic().downloadSample(TEMPLATE)
    assert node.GetName() == "ULAETemplate"
    assert np.array_equal(slicer.util.arrayFromVolume(node), sitk.GetArrayFromImage(template()))


def test_the_subject_is_the_shipped_one(sources, scene):
    """Which is the one that the library simulates, as a test of the library says."""
    from ULAERegistrationLib.mrml.volumes import image_from_volume

    node = SampleData.SampleDataLogic().downloadSample(SUBJECT)
    assert node.GetName() == "ULAESimulatedSubject"
    # Slicer's reader turns left-handed grids; the voxels stay where they are in the world.
    file = sitk.ReadImage(str(SHIPPED))
    there = sitk.Resample(image_from_volume(node), file, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(there), sitk.GetArrayFromImage(file))


def test_a_slicer_without_sample_data_is_no_error(module, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    with caplog.at_level(logging.WARNING):
        slicer.app.startupCompleted.emit()
    assert not caplog.records


def test_a_sample_data_module_that_refuses_is_one_line_in_the_log(module, monkeypatch, caplog):
    def refuse(**told):
        raise ValueError("these lengths differ")

    monkeypatch.setattr(SampleData.SampleDataLogic, "registerCustomSampleDataSource", staticmethod(refuse))
    slicer.app.startupCompleted.emit()
    assert [record.message for record in caplog.records] == [
        "The data sets of ULAE Registration are not offered: these lengths differ"
    ]

"""The data sets this module adds to Slicer's Sample Data module; nothing is downloaded before it is asked for."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "ULAE Registration"


def register(iconsFolder: Path) -> None:
    """Adds the data sets; called once at Slicer's start."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="ULAE template",
        thumbnailFileName=str(iconsFolder / "ULAETemplate.png"),
        nodeNames="ULAETemplate",
        customDownloader=lambda source: loadTemplate(),
    )
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="ULAE simulated subject",
        thumbnailFileName=str(iconsFolder / "ULAESimulatedSubject.png"),
        nodeNames="ULAESimulatedSubject",
        customDownloader=lambda source: loadSimulatedSubject(),
    )


def loadTemplate():
    """The average brain that ships with the library, as a new volume."""
    from ULAERegistrationLib.geometry.canonical import template

    return _volume("ULAETemplate", template())


def loadSimulatedSubject():
    """A subject made from the template by a known deformation, as another scanner would see it, as a new volume."""
    from ULAERegistrationLib.simulation import simulate

    return _volume("ULAESimulatedSubject", simulate().subject)


def _volume(name: str, image):
    import slicer

    from ULAERegistrationLib.mrml.volumes import set_volume

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    set_volume(node, image)
    node.CreateDefaultDisplayNodes()
    return node

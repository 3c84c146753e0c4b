"""The data sets this module adds to Slicer's Sample Data module; both files ship with the extension.

Sample Data copies a file into its cache from any address that `urllib` can open, so also from this computer. It loads
what lies there by the names given here, from a click as well as by `SampleData.SampleDataLogic().downloadSample(name)`.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

RESOURCES = Path(__file__).parents[1] / "Resources"
CATEGORY = "ULAE Registration"
TEMPLATE, SUBJECT = "ULAE template", "ULAE simulated subject"  # as `downloadSample` takes them
CHECKSUMS = {
    TEMPLATE: "SHA256:c6ecece34ed30461c8c5cd94e0ed2905a9281cb367695e1cf0960ee0f593c7a7",
    SUBJECT: "SHA256:776d5a5fc9336a04ae30a3b52e6dc7aaa0cefcbfc1349d3cd75be6445f06de80",
}


def register() -> None:
    """Adds the data sets if that is possible; called once at Slicer's start."""
    try:
        _register()
    except ImportError:  # a Slicer without the Sample Data module
        logging.info("Sample Data module not found; the data sets of ULAE Registration are not offered.")
    except Exception as error:  # the module works without them, so Slicer's start must not show a traceback
        logging.warning(f"The data sets of ULAE Registration are not offered: {error}")


def _register() -> None:
    """Adds the data sets. Nothing of the library is imported, and no file is read."""
    import SampleData

    library = Path(find_spec("ULAERegistrationLib").origin).parent
    for name, file, nodeName in (
        (TEMPLATE, library / "models" / "template.nii.gz", "ULAETemplate"),
        (SUBJECT, RESOURCES / "SampleData" / "ULAESimulatedSubject.nii.gz", "ULAESimulatedSubject"),
    ):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            thumbnailFileName=str(RESOURCES / "Icons" / f"{nodeName}.png"),
            uris=file.resolve().as_uri(),
            fileNames=f"{nodeName}.nii.gz",
            nodeNames=nodeName,
            checksums=CHECKSUMS[name],
        )

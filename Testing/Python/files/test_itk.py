"""While ITK reads and writes files, it prints nothing, whoever else does so at the same time."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest
import SimpleITK as sitk

from ULAERegistrationLib.files.itk import itk_files


@pytest.mark.parametrize("warns", [True, False])
def test_of_blocks_that_overlap_the_last_one_restores_what_was_before_the_first(warns) -> None:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    try:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)
        first, second = ExitStack(), ExitStack()
        first.enter_context(itk_files())
        second.enter_context(itk_files())
        first.close()
        assert not sitk.ProcessObject.GetGlobalWarningDisplay()
        second.close()
        assert sitk.ProcessObject.GetGlobalWarningDisplay() == warns
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


BOTH = """
import sys, threading
from pathlib import Path
import SimpleITK as sitk
from ULAERegistrationLib.files.transforms import read_transform, write_transform
from ULAERegistrationLib.files.volumes import read_volume, write_image

folder, ended = Path(sys.argv[1]), []
field = sitk.DisplacementFieldTransform(sitk.Image([12] * 3, sitk.sitkVectorFloat64))

def volumes(ending):
    volume = sitk.Image(12, 12, 12, sitk.sitkInt16) + 1  # an image belongs to one thread
    while not ended:
        write_image(volume, folder / ("volume" + ending))

others = [threading.Thread(target=volumes, args=(ending,)) for ending in (".nii.gz", ".nrrd", ".mha")]
for other in others:
    other.start()
try:
    for _ in range(60):
        write_transform(field, folder / "transform.h5")
    read_transform(folder / "transform.h5")
finally:
    ended.append(True)
    for other in others:
        other.join()
"""


def test_volumes_are_written_while_transforms_are(tmp_path) -> None:
    """A result was lost now and then: to look at a volume, ITK asked HDF5 too, by which another thread wrote."""
    ran = subprocess.run([sys.executable, "-c", BOTH, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")

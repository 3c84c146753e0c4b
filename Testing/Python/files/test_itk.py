"""While ITK reads and writes files, it prints nothing, whoever else does so at the same time."""

from __future__ import annotations

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

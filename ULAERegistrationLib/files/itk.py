"""The surroundings in which ITK reads and writes files: numbers with points, and no text of its own."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk


@contextmanager
def itk_files() -> Iterator[None]:
    """Let ITK read and write numbers with a decimal point meanwhile, and print no warnings.

    In a process that has set a language with a decimal comma, ITK reads 1.25 in an .nrrd, .mha or .tfm file as 1,
    without a word. What its warnings are about is checked here, and said in sentences.
    """
    before = locale.setlocale(locale.LC_NUMERIC)
    warns = sitk.ProcessObject.GetGlobalWarningDisplay()
    if before not in ("C", "POSIX"):
        locale.setlocale(locale.LC_NUMERIC, "C")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warns)
        if before not in ("C", "POSIX"):
            locale.setlocale(locale.LC_NUMERIC, before)

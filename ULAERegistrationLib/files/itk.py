"""The surroundings in which ITK reads and writes files: numbers with points, and no text of its own."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import SimpleITK as sitk

# Held while ITK reads or writes by HDF5 (transforms in .h5, MINC), whose library fails where two threads use it. A
# reader of volumes that is not told their format looks for it by HDF5 too, so those in this folder are told, and so is
# that of Slicer's module.
HDF5 = Lock()


class _Shared:
    """What the threads share that read and write files at the same time.

    Attributes:
        lock: held while the rest is used.
        users: how many blocks run.
        numbers, warns: the locale of numbers and whether ITK prints warnings, as they were before the first of them.
    """

    lock = Lock()
    users = 0
    numbers = "C"
    warns = True


@contextmanager
def itk_files() -> Iterator[None]:
    """Let ITK read and write numbers with a decimal point meanwhile, and print no warnings.

    In a process that has set a language with a decimal comma, ITK reads 1.25 in an .nrrd, .mha or .tfm file as 1,
    without a word. What its warnings are about is checked here, and said in sentences. Both are settings of the whole
    process: of the threads that read and write at the same time, the first one changes them and the last one restores
    them.
    """
    with _Shared.lock:
        if _Shared.users == 0:
            _Shared.numbers = locale.setlocale(locale.LC_NUMERIC)
            _Shared.warns = sitk.ProcessObject.GetGlobalWarningDisplay()
            if _Shared.numbers not in ("C", "POSIX"):
                locale.setlocale(locale.LC_NUMERIC, "C")
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
        _Shared.users += 1
    try:
        yield
    finally:
        with _Shared.lock:
            _Shared.users -= 1
            if _Shared.users == 0:
                sitk.ProcessObject.SetGlobalWarningDisplay(_Shared.warns)
                if _Shared.numbers not in ("C", "POSIX"):
                    locale.setlocale(locale.LC_NUMERIC, _Shared.numbers)

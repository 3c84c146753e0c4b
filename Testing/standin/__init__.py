"""A small stand-in for the Slicer application, for tests of the module's widgets on real MRML.

Real: MRML, VTK, `slicer.util` (the slicer-core wheel). Stand-in: Qt through PySide6, made to behave as PythonQt does
(`pythonqt`), the few ctk and qMRML widgets the module uses (`ctk`, `qmrml`), the application object (`application`),
the base classes of scripted modules (`scripted`, `i18n`) and module loading (`loader`). `sliceview` draws slice views.

The rule for every class here: it offers what Slicer's headers mark Q_PROPERTY, public slot, signal or Q_INVOKABLE, and
nothing else, so that a name which PythonQt would not find fails here too. None of Slicer's files is copied.
"""

from __future__ import annotations

import sys


def start():
    """Builds the application once per process and returns it.

    After this `import qt, ctk, slicer` gives what a scripted module sees in Slicer.
    """
    from . import pythonqt

    pythonqt.install()
    from . import ctk, qt

    sys.modules["qt"] = qt
    sys.modules["ctk"] = ctk
    from .application import Application

    return Application.instance() or Application()

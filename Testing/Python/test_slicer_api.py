"""Whatever the module takes from Slicer has a source that proves it is there."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "tools"))

import slicer_api  # noqa: E402


def test_every_name_has_a_source_and_every_source_a_name():
    assert slicer_api.unproved() == ([], [])


def test_the_page_is_of_this_code():
    assert slicer_api.PAGE.read_text(encoding="utf-8") == slicer_api.page()  # python Testing/tools/slicer_api.py


def test_calls_signals_classes_and_widgets_are_found():
    finder = slicer_api.Finder({"modelPathEdit": "ctkPathLineEdit"})
    code = """
import slicer.packaging
slicer.app.layoutManager().setLayout(3)
self._ui.modelPathEdit.currentPath = ""
node.SetAndObserveTransformNodeID(slicer.util.getNode("vtkMRMLModelNode").GetID())
box.connect("toggled(bool)", act)
sitk.ReadImage("a")
"""
    finder.visit(ast.parse(code))
    assert finder.names == {
        "slicer.packaging",
        "slicer.app.layoutManager",
        "slicer.app.layoutManager().setLayout",
        "ctkPathLineEdit.currentPath",
        "method SetAndObserveTransformNodeID",
        "slicer.util.getNode",
        "slicer.util.getNode().GetID",
        "method GetID",
        "slicer.vtkMRMLModelNode",
        "signal toggled(bool)",
    }

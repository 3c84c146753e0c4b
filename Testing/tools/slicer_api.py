"""Lists what the module takes from Slicer, with the source that proves each name: writes docs/slicer-api.md.

    python Testing/tools/slicer_api.py            writes the page
    python Testing/tools/slicer_api.py --check    says which names have no source, and which sources no name

Found in the code: every name under `slicer`, `qt` and `ctk`, every class of MRML, every signal that is connected, what
is read, set and called of the widgets in the .ui file, and every method that is spelt as VTK's and MRML's are. The
sources are kept by hand in slicer_api_sources.json, `project:path` in the projects and versions named on the page.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).with_name("slicer_api_sources.json")
PAGE = ROOT / "docs" / "slicer-api.md"
CODE = ("ULAERegistration", "ULAERegistrationLib/mrml")
MODULES = ("slicer", "qt", "ctk", "PyTorchUtils", "SampleData", "packaging")
OTHERS = ("io", "sitk", "tempfile")  # whose capitalised names are not VTK's
SIMPLEITK = (
    "ComputePerimeterOff",
    "CopyInformation",
    "Execute",
    "GetBoundingBox",
    "GetDirection",
    "GetSize",
    "HasLabel",
    "SetDirection",
    "SetMatrix",
    "SetMetaData",
    "SetTranslation",
)
CLASS = re.compile(r"vtk(?:MRML|Oriented|Segment|Slicer)\w+")
HEAD = """# What the module takes from Slicer

Made by `python Testing/tools/slicer_api.py` from the code; a test fails where a name has no source or this page is old.
Read in: Slicer = [Slicer/Slicer](https://github.com/Slicer/Slicer) at v5.10.0, v5.12.3 and main of August 2026
(583e9b3), CTK = [commontk/CTK](https://github.com/commontk/CTK) (868d56c), PythonQt =
[commontk/PythonQt](https://github.com/commontk/PythonQt), branch patched-10, PyTorch =
[fepegar/SlicerPyTorch](https://github.com/fepegar/SlicerPyTorch) (e1c85cc), vtkAddon =
[Slicer/vtkAddon](https://github.com/Slicer/vtkAddon), VTK = [Kitware/VTK](https://github.com/Kitware/VTK), Qt = the
[class of that name](https://doc.qt.io/qt-5/classes.html). What is of MRML, VTK and vtkAddon also runs in the tests, on
the slicer-core package.

| name | used in | source |
|---|---|---|
"""


class Finder(ast.NodeVisitor):
    """Collects the names of one file."""

    def __init__(self, widgets: dict[str, str]) -> None:
        self.names: set[str] = set()
        self.widgets = widgets  # classes by the names in the .ui file

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in MODULES:
            self.names.add(".".join([inner.id, *reversed(parts)]))
            return
        whole = [*([inner.id] if isinstance(inner, ast.Name) else []), *reversed(parts)]
        for owner, widget, name in zip(whole, whole[1:], whole[2:], strict=False):
            if owner in ("ui", "_ui") and widget in self.widgets:
                self.names.add(f"{self.widgets[widget]}.{name}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute):
            inner = function.value
            if isinstance(inner, ast.Call) and _chain(inner.func):  # such as slicer.app.layoutManager().setLayout
                self.names.add(f"{_chain(inner.func)}().{function.attr}")
            root = inner.id if isinstance(inner, ast.Name) else ""
            spelt = re.match(r"[A-Z][a-z]+", function.attr) and function.attr not in SIMPLEITK
            if spelt and root not in OTHERS and not _chain(function):
                self.names.add(f"method {function.attr}")
            if function.attr == "connect" and node.args and isinstance(node.args[0], ast.Constant):
                self.names.add(f"signal {node.args[0].value}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and CLASS.fullmatch(node.value):
            self.names.add(f"slicer.{node.value}")
        if node.value == "extensionsManagerModel":  # asked for by name, for a Slicer built without it
            self.names.add("slicer.app.extensionsManagerModel")

    def visit_Import(self, node: ast.Import) -> None:
        self.names |= {one.name for one in node.names if one.name.split(".")[0] in MODULES and "." in one.name}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").split(".")[0] in MODULES:
            self.names |= {f"{node.module}.{one.name}" for one in node.names}


def _chain(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) and node.id in MODULES else ""


def found() -> dict[str, list[str]]:
    """The names and the files that use them."""
    names = defaultdict(list)
    forms = sorted((ROOT / CODE[0]).rglob("*.ui"))
    widgets = {}
    for path in forms:
        text = path.read_text(encoding="utf-8")
        widgets |= {name: kind for kind, name in re.findall(r'<widget class="(\w+)" name="(\w+)"', text)}
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            finder = Finder(widgets)
            finder.visit(ast.parse(path.read_text(encoding="utf-8")))
            for name in finder.names:
                names[name].append(path.name)
    for path in forms:
        for name in set(re.findall(r'class="((?:q[MS]|ctk)\w+)"', path.read_text(encoding="utf-8"))):
            names[("ctk." if name.startswith("ctk") else "slicer.") + name].append(path.name)
    return dict(sorted(names.items(), key=lambda item: item[0].lower()))


def page() -> str:
    sources = json.loads(SOURCES.read_text(encoding="utf-8"))
    rows = [f"| `{name}` | {', '.join(files)} | {sources.get(name, '**none**')} |" for name, files in found().items()]
    return HEAD + "\n".join(rows) + "\n"


def unproved() -> tuple[list[str], list[str]]:
    """Names without a source, and sources without a name."""
    names, sources = found(), json.loads(SOURCES.read_text(encoding="utf-8"))
    return [name for name in names if not sources.get(name)], [name for name in sources if name not in names]


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    missing, superfluous = unproved()
    for name in missing:
        print(f"no source: {name}")
    for name in superfluous:
        print(f"not used: {name}")
    return 1 if missing or superfluous else 0


if __name__ == "__main__":
    sys.exit(main())

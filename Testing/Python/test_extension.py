"""The extension's CMake files name every file that must be installed, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def listed(folder: Path, name: str) -> set[str]:
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    entries = re.search(rf"set\({name}\n(.*?)\n\s*\)", text, re.DOTALL).group(1).split()
    return {entry.replace("${MODULE_NAME}", folder.name) for entry in entries}


def present(folder: Path, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix() for path in found if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize(("folder", "prefix"), [("ULAERegistration", "MODULE"), ("ULAERegistrationLib", "LIBRARY")])
def test_every_python_file_is_listed(folder, prefix):
    assert listed(ROOT / folder, f"{prefix}_PYTHON_SCRIPTS") == present(ROOT / folder, "**/*.py")


def test_every_resource_is_listed():
    module, library = ROOT / "ULAERegistration", ROOT / "ULAERegistrationLib"
    assert listed(module, "MODULE_PYTHON_RESOURCES") == present(module, "Resources/**/*")
    assert listed(library, "LIBRARY_PYTHON_RESOURCES") == present(library, "models/*")


def test_the_extension_says_what_it_is():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name} "[^"]+"\)', text), name
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text
    assert "## NEXT_MODULE" in text  # Slicer's extension wizard looks for it
    for folder in re.findall(r"add_subdirectory\((\w+)\)", text):
        assert (ROOT / folder / "CMakeLists.txt").is_file()
    for url in re.findall(r"main/(\S+\.png)", text):
        assert (ROOT / url).is_file(), url


def test_the_module_has_its_tests_in_cmake():
    text = (ROOT / "ULAERegistration" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "WITH_GENERIC_TESTS" in text
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in text

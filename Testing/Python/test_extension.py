"""The extension's CMake files name every file that must be installed, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "tools"))

import placeholders  # noqa: E402


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
    assert listed(library, "LIBRARY_PYTHON_RESOURCES") == present(library, "models/*", "output/*.html", "py.typed")


# What the file of this purpose says in Slicer's build tree.
VERSION_FILE = """set(PACKAGE_VERSION "{version}")
if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
"""
EXTENSION_VALUES = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")


def extension_values() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', text))


def test_the_extension_says_what_it_is():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert set(EXTENSION_VALUES) <= extension_values().keys()
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text
    assert "## NEXT_MODULE" in text  # Slicer's extension wizard looks for it
    for folder in re.findall(r"add_subdirectory\((\w+)\)", text):
        assert (ROOT / folder / "CMakeLists.txt").is_file()
    for url in re.findall(r"main/(\S+\.png)", text):
        assert (ROOT / url).is_file(), url


def test_no_value_of_the_extension_is_a_list_to_cmake():
    """Slicer hands the values over without quotes, so of a value with a semicolon all after it is lost."""
    assert [name for name, value in extension_values().items() if ";" in value] == []


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_hands_every_value_of_the_extension_over_as_a_whole(tmp_path):
    values = {name: extension_values()[name] for name in EXTENSION_VALUES}
    lines = [f'set(EXTENSION_{name} "{value}")' for name, value in values.items()]
    passed = " ".join(f"{name} ${{EXTENSION_{name}}}" for name in values)  # without quotes, as Slicer does
    lines.append(f'cmake_parse_arguments(MY "" "{";".join(values)}" "" {passed})')
    lines += [f'message(STATUS "{name}=${{MY_{name}}}")' for name in values]
    lines.append('message(STATUS "LOST=${MY_UNPARSED_ARGUMENTS}")')
    script = tmp_path / "values.cmake"
    script.write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(["cmake", "-P", str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"-- {name}={value}" for name, value in values.items()] + ["-- LOST="]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.parametrize(("version", "taken"), [("5.8", False), ("5.10", True), ("5.13", True)])
def test_a_slicer_whose_python_cannot_read_the_module_is_refused_before_the_build(tmp_path, version, taken):
    (tmp_path / "SlicerConfig.cmake").touch()
    (tmp_path / "SlicerConfigVersion.cmake").write_text(VERSION_FILE.format(version=version))
    call = re.search(r"^find_package\(Slicer.*\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)
    (tmp_path / "find.cmake").write_text(call[0])
    command = ["cmake", f"-DSlicer_DIR={tmp_path}", "-P", str(tmp_path / "find.cmake")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == taken, done.stderr
    assert taken or f"version: {version}" in done.stderr


def test_the_module_has_its_tests_in_cmake():
    text = (ROOT / "ULAERegistration" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "WITH_GENERIC_TESTS" in text
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in text


def test_every_address_names_the_same_repository():
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in placeholders.FILES]
    owners = re.findall(r"(?:github|githubusercontent)\.com/([\w-]+)/SlicerULAERegistration", "".join(texts))
    assert len(owners) == 12  # five of Slicer, four of pip, and three for those who read
    assert len(set(owners)) == 1


def test_the_check_finds_every_placeholder_and_fills_them_in(tmp_path):
    for name in placeholders.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text = (tmp_path / "CMakeLists.txt").read_text()
    (tmp_path / "CMakeLists.txt").write_text("# REPOSITORY-OWNER\n" + text)
    assert placeholders.places(tmp_path)[0] == "CMakeLists.txt:1: REPOSITORY-OWNER"
    placeholders.fill_in(tmp_path, "somebody", "Jane Doe (University of Somewhere)")
    assert placeholders.places(tmp_path) == []
    assert "https://github.com/somebody/SlicerULAERegistration" in (tmp_path / "CMakeLists.txt").read_text()


def test_no_placeholder_hides_in_another_file():
    kinds = (".py", ".txt", ".json", ".md", ".toml", ".yml", ".ui", ".sh")
    skipped = {ROOT / name for name in placeholders.FILES} | {Path(placeholders.__file__).resolve(), Path(__file__)}
    files = [path for path in ROOT.rglob("*") if path.suffix in kinds and ".venv" not in path.parts]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path not in skipped}
    assert [path for path, text in texts.items() if placeholders.OWNER in text or "AUTHOR-NAME" in text] == []


def test_the_entry_for_the_index_says_what_the_extension_says():
    entry = json.loads((ROOT / "docs" / "extensions-index" / "ULAERegistration.json").read_text())
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in text
    assert f'set(EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}")' in text
    assert "project(ULAERegistration)" in text  # by the entry's file name
    assert entry["scm_url"] == re.search(r'EXTENSION_HOMEPAGE "(.*)"', text)[1] + ".git"
    allowed = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory"}
    assert set(entry) <= allowed | {"enabled", "tier"}  # the schema takes nothing else


def test_the_read_me_has_what_the_index_asks_for():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "doi.org/10.1007/978-3-030-87202-1_1" in text
    for module in [path.parent.name for path in ROOT.glob("*/*.py") if path.stem == path.parent.name]:
        assert re.search(rf"\*\*{module}\*\*: [A-Z]", text), module  # a sentence for each module
    assert "CC BY-NC 4.0" in text

"""Every command that a document gives is accepted by the program that it calls.

All Markdown files are read: their blocks of code, in which every line is a whole command, and the commands in their
sentences, which may be the name of a program with an option of it alone. Nothing is run: each program is begun, and
ends when its own parser has taken its arguments. A program without a parser takes none.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ULAERegistrationLib.cli import main as command_line

ROOT = Path(__file__).parents[2]
BENCHMARKS = "Testing/benchmarks"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("ulae ", ".venv/bin/ulae ", "python Testing/", "python -m ULAERegistrationLib")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = ("docs/", "Testing/", "ULAERegistrationLib/")  # what is in the repository, in which the reader stands
NOT_WHOLE = re.compile("arguments are required|expected (one|at least one) argument")


def lines_of_blocks(text: str) -> list[str]:
    code = "\n".join(code for language, code in BLOCK.findall(text) if language not in ("python", "mermaid"))
    return commands(code.replace("\\\n", " ").splitlines())


def mentions(text: str) -> list[str]:
    return commands(re.findall(r"`([^`]+)`", BLOCK.sub("", text)))


def commands(lines: list[str]) -> list[str]:
    """Those lines that call a program of ours and leave nothing out; benchmarks may be called by their file's name."""
    found = [" ".join(line.split()) for line in lines]
    benchmarks = {path.name for path in (ROOT / BENCHMARKS).glob("*.py")}
    found = [f"python {BENCHMARKS}/{line}" if line.partition(" ")[0] in benchmarks else line for line in found]
    return [line for line in found if line.startswith(PROGRAMS) and "..." not in line]


def words_of(line: str) -> list[str]:
    """The words of a line as a shell gives them to its first program: without comments, braces expanded."""
    words = []
    for word in shlex.split(re.split(" (?:>|[|]|&&) ", line)[0], comments=True):
        before, braces, rest = word.partition("{")
        names, _, after = rest.partition("}")
        words += [f"{before}{name}{after}" for name in names.split(",")] if braces else [word]
    return words


def pages_with(find: Callable[[str], list[str]]) -> list[Any]:
    texts = [(path, path.read_text(encoding="utf-8")) for path in DOCUMENTS]
    return [pytest.param(found, id=str(path.relative_to(ROOT))) for path, text in texts if (found := find(text))]


@pytest.fixture
def refusal(monkeypatch) -> Callable[[str], str]:
    """Gives what a program's own parser says of a command, and nothing where it accepts it."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> NoReturn:
        given = sys.argv[1:] if arguments is None else arguments
        # Asked before the parser, which says first that an argument is missing.
        known = set(parser._option_string_actions) | {"--version"}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) and given[0] in action.choices:
                known |= set(action.choices[given[0]]._option_string_actions)
        if unknown := [word for word in given if word.startswith("--") and word.partition("=")[0] not in known]:
            parser.error(f"unknown options {unknown}")
        parse_args(parser, given)
        raise SystemExit

    def say(parser: argparse.ArgumentParser, message: str) -> NoReturn:
        raise SystemExit(message)

    def refusal_of(line: str) -> str:
        try:
            return begin(words_of(line))
        except SystemExit as end:
            return str(end.code or "")

    def begin(words: list[str]) -> str:
        if words[0] != "python":
            return command_line.main(words[1:])
        at = 2 if words[1] == "-m" else 1
        name, arguments = words[at], words[at + 1 :]
        module = importlib.util.find_spec(name) if at == 2 else None
        program = Path(module.origin) if module and module.origin else ROOT / name
        if not program.is_file():
            return "there is no such program"
        if "argparse" not in program.read_text(encoding="utf-8"):
            return "the program takes no arguments" if arguments else ""
        monkeypatch.setattr(sys, "argv", [str(program), *arguments])
        monkeypatch.syspath_prepend(program.parent)
        if module:
            runpy.run_module(name, run_name="__main__")
        else:
            runpy.run_path(str(program), run_name="__main__")
        return "the program did not ask its parser"

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(argparse.ArgumentParser, "error", say)
    return refusal_of


@pytest.mark.parametrize("lines", pages_with(lines_of_blocks))
def test_every_command_in_the_documents_is_accepted(lines: list[str], refusal) -> None:
    assert {line: why for line in lines if (why := refusal(line))} == {}


@pytest.mark.parametrize("lines", pages_with(mentions))
def test_every_command_that_a_sentence_names_exists_with_its_options(lines: list[str], refusal) -> None:
    assert {line: why for line in lines if (why := refusal(line)) and not NOT_WHOLE.search(why)} == {}


@pytest.mark.parametrize("lines", pages_with(lambda text: lines_of_blocks(text) + mentions(text)))
def test_the_files_of_ours_that_a_command_names_are_there(lines: list[str]) -> None:
    named = [word for line in lines for word in words_of(line) if word.startswith(OURS)]
    assert [word for word in named if not (ROOT / word).exists()] == []

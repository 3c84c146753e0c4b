"""What the module says to its users can be translated: literals in `_()`, with names put in afterwards."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[2] / "ULAERegistration"
FILES = sorted(MODULE.rglob("*.py"))
SPEAKS = {"RegistrationError", "RuntimeError", "confirmOkCancelDisplay", "errorDisplay", "infoDisplay"}


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "id", getattr(node.func, "attr", "")), node


def test_the_module_has_sentences_to_look_at():
    names = [name for path in FILES for name, _ in calls(path)]
    assert names.count("_") > 50
    assert set(names) >= SPEAKS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_literals_are_looked_up(path):
    for name, call in calls(path):
        if name == "_":
            assert isinstance(call.args[0], ast.Constant), ast.unparse(call)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_sentence_reaches_a_user_without_having_been_looked_up(path):
    for name, call in calls(path):
        if name in SPEAKS and call.args:
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), ast.unparse(call)

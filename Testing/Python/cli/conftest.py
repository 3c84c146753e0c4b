"""What the tests of the commands share."""

from __future__ import annotations

import pytest

from ULAERegistrationLib.cli.main import main


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run a command that must fail, and give its one line."""

    def run(*arguments: object, status: int = 1) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert main([str(a) for a in arguments]) == status
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        text = capsys.readouterr().err.strip()
        assert text.count("\n") == 0
        assert text.startswith("ulae: ")
        assert text.endswith(".")
        return text

    return run

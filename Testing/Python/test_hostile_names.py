"""Names, headers and cards that others wrote are text: no page runs them, no terminal obeys them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.cli.result_text import print_result
from ULAERegistrationLib.errors import RegistrationError, printable
from ULAERegistrationLib.files.volumes import read_volume
from ULAERegistrationLib.network.weights import SHIPPED, load_network
from ULAERegistrationLib.process.summary_page import summary_page

HTML = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>"
ANSI = "\x1b[2J\x1b]0;owned\x07\r\nscan"


class Elements(HTMLParser):
    """The elements of a page, and their attributes that run code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.handlers += [
            name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascript:")
        ]


def test_the_page_of_a_cohort_shows_names_and_messages_as_text(tmp_path) -> None:
    (tmp_path / "javascript:alert(1)").mkdir()
    (tmp_path / "javascript:alert(1)" / "report.html").touch()

    def page(name: str) -> Elements:
        row = {"name": name, "status": "done", "verdict": name, "message": name}
        return Elements(summary_page([row, {**row, "name": "javascript:alert(1)"}], tmp_path))

    plain, hostile = page("ann"), page(HTML)
    assert hostile.names == plain.names
    assert hostile.handlers == []


def test_a_terminal_gets_no_control_characters_from_names_and_cards(tmp_path, capsys) -> None:
    with pytest.raises(RegistrationError) as caught:
        read_volume(tmp_path / ANSI, "fixed")
    assert str(caught.value).isprintable()
    assert main(["apply", ANSI, "a.nii.gz", "--like", "b.nii.gz", "-o", str(tmp_path / "o.nii.gz")]) == 1
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    (tmp_path / "own.safetensors").write_bytes(SHIPPED.read_bytes())
    (tmp_path / "own.json").write_text(json.dumps({**card, "licence": ANSI}))
    assert main(["info", "--model", str(tmp_path / "own.safetensors")]) == 0
    quality = SimpleNamespace(
        **{"verdict": "good", "reasons": ["They match."], "seconds": {}, "ncc_before": 0.1, "ncc_after": 0.6},
        **{"folded_percent": 0.0, "displacement_mean_mm": 1.0},
    )
    registration = SimpleNamespace(quality=quality, card=load_network(tmp_path / "own.safetensors")[1])
    print_result(registration, {})  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert not set("\x1b\x07\r") & set(said.out + said.err)
    assert r"\x1b[2J" in said.out


def test_letters_of_any_language_are_no_control_characters() -> None:
    assert printable("Jürgen 脑 scan.nii.gz") == "Jürgen 脑 scan.nii.gz"

"""Write `docs/limits.md` from the table of bad and odd inputs: python Testing/tools/limits.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from input_cases import CASES, InputCase  # noqa: E402

DOC = Path(__file__).parents[2] / "docs" / "limits.md"
BEGINNING = """\
# Limits

## Bad and odd inputs

What happens with an input that is not an ordinary brain scan. This page is made from `Testing/input_cases.py` by
`python Testing/tools/limits.py`, and the tests try every row from Python, from the shell and, where a node can hold it,
in Slicer's scene.
"""
SECTIONS = {
    "refused": "Refused in one sentence, before anything is computed; the words are of that sentence.",
    "warned": 'Accepted with a warning, which stands in the report; the verdict is then at most "look at it".',
    "handled": "Handled like any other input.",
    "not recognised": "Not recognised beforehand.",
}


def text() -> str:
    """Return the page."""
    parts = [BEGINNING]
    for outcome, heading in SECTIONS.items():
        rows = [case for case in CASES if case.outcome == outcome]
        parts.append(
            f"\n**{heading}**\n\n| input | {'words' if outcome in ('refused', 'warned') else 'note'} |\n|---|---|\n"
        )
        parts += [_row(case) for case in rows]
    return "".join(parts)


def _row(case: InputCase) -> str:
    return f"| {case.what} | {case.says} |\n"


if __name__ == "__main__":
    DOC.write_text(text(), encoding="utf-8")

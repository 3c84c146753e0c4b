"""summary.html: every pair of a cohort with its verdict, its pictures and its measures, in a table to be sorted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..output.page import page

# The worst first, as that is what somebody has to look at.
ORDER = {"failed": 0, "not done": 1, "do not use": 2, "look at it": 3, "good": 4}
TONES = {"failed": "bad", "not done": "look", "do not use": "bad", "look at it": "look", "good": "good"}
MEASURE_TITLES = {
    "ncc_before": "correlation before",
    "ncc_after": "after",
    "folded_percent": "folded, %",
    "displacement_mean_mm": "mean displacement, mm",
}
STYLE = """
body { max-width: 90rem; }
.pairs td, .pairs tbody th { vertical-align: middle; }
.pairs tbody th { width: auto; }
.pairs thead th { vertical-align: bottom; }
.pairs button { all: unset; cursor: pointer; }
.pairs button:focus-visible { outline: 3px solid currentColor; }
.pairs [aria-sort=ascending] button::after { content: " ▲"; }
.pairs [aria-sort=descending] button::after { content: " ▼"; }
.pairs img { width: 14rem; min-height: 4rem; }
.tone { color: var(--tone); font-weight: 600; white-space: nowrap; }
"""
SCRIPT = """<script>
"use strict";
for (const button of document.querySelectorAll(".pairs thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = document.querySelector(".pairs tbody");
  const column = [...head.parentNode.children].indexOf(head), up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.children[column].dataset.key ?? row.children[column].textContent;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stays at the end
    return (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b) * (up ? 1 : -1);
  };
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
});
</script>"""


def summary_page(rows: Sequence[Mapping[str, str]], folder: Path, note: str = "") -> str:
    """Return the page of a cohort.

    Args:
        rows: of the summary, the columns by name.
        folder: of the cohort; pictures and reports are linked relative to it, where they are there.
        note: a sentence about all results, or empty.
    """
    counts = Counter(map(_outcome, rows))
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ORDER if counts[outcome])
    titles = {"name": "pair", "pictures": "before and after", "verdict": "verdict", **MEASURE_TITLES, "why": "why"}
    head = "".join(
        f'<th scope="col">{escape(title) if name in ("pictures", "why") else f"<button>{escape(title)}</button>"}</th>'
        for name, title in titles.items()
    )
    body = [
        "<h1>Registration of a cohort with ULAE-net</h1>",
        f'<p class="note">{len(rows)} pairs: {escape(told)}. Click a heading to sort. In the pictures the fixed brain '
        "is green and the moving brain magenta, left after the alignment alone, right after the registration.</p>",
        *([f'<p class="note">{escape(note)}</p>'] if note else []),
        f'<div class="wide"><table class="pairs"><thead><tr>{head}</tr></thead>',
        "<tbody>",
        *(_row(row, folder) for row in rows),
        "</tbody></table></div>",
        SCRIPT,
    ]
    return page("Registration of a cohort", body, style=STYLE)


def _outcome(row: Mapping[str, str]) -> str:
    return row.get("verdict") or row["status"]


def _row(row: Mapping[str, str], folder: Path) -> str:
    name, outcome = row["name"], _outcome(row)
    is_done = row["status"] == "done"  # the folder of another pair may hold an earlier result
    cells = [
        f'<th scope="row">{_link(name, "report.html", escape(name), folder) if is_done else escape(name)}</th>',
        f"<td>{_picture(name, folder) if is_done else ''}</td>",
        f'<td data-key="{ORDER.get(outcome, 0)}" class="tone {TONES.get(outcome, "bad")}">{escape(outcome)}</td>',
        *(f'<td class="number">{escape(_short(row.get(measure, "")))}</td>' for measure in MEASURE_TITLES),
        f"<td>{escape(row['message'])}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _picture(name: str, folder: Path) -> str:
    if not os.path.isfile(folder / name / "thumbnail.jpg"):
        return ""
    alt = escape(f"Both brains of {name} on top of each other, before and after registration.")
    image = f'<img loading="lazy" alt="{alt}" src="{quote(name)}/thumbnail.jpg">'
    return _link(name, "report.html", image, folder)


def _link(name: str, file: str, content: str, folder: Path) -> str:
    return f'<a href="{quote(name)}/{file}">{content}</a>' if os.path.isfile(folder / name / file) else content


def _short(value: str) -> str:
    """Round a number to three decimals."""
    return f"{float(value):.3f}" if value else ""

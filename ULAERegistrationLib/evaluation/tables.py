"""Write an evaluation to a folder: all of it as JSON, its summaries as a table, and a box plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..dataset.regions import REGIONS, numbering_of
from ..dataset.sources import VALIDATION_PEOPLE, source_of
from ..files.writing import whole_or_nothing
from .boxplot import draw
from .methods import TITLES
from .people import ordered_pairs
from .protocol import Evaluation
from .summary import FEWEST_PEOPLE, Summary

# Measure, column title and decimals.
COLUMNS = (
    ("dice", "Dice", 3),
    ("five_regions", "five regions", 3),
    ("union", "union", 3),
    ("hd95_mm", "HD95, mm", 2),
    ("folded_percent", "folded, %", 3),
    ("folded_central_percent", "folded (central), %", 3),
    ("log_jacobian_sd", "SD log J", 3),
    ("seconds", "s", 1),
    ("memory_gb", "GB", 2),
    ("gpu_memory_gb", "GPU GB", 2),
)


def save(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation.json`, `table.md` and `boxplot.png`; each is written completely or not at all.

    Raises:
        RegistrationError: where the folder cannot be written.
    """
    with whole_or_nothing(folder / "boxplot.png") as partial:
        draw(evaluation, partial)
    with whole_or_nothing(folder / "table.md") as partial:
        partial.write_text(table(evaluation), encoding="utf-8")
    with whole_or_nothing(folder / "evaluation.json") as partial:
        partial.write_text(json.dumps(evaluation.to_dict(), indent=1) + "\n", encoding="utf-8")


def table(evaluation: Evaluation) -> str:
    """Format the summaries as Markdown: for each source the measures, then the Dice of the regions."""
    parts = [
        f"Weights {evaluation.card.name} ({evaluation.card.licence}). Mean ± standard deviation over ordered pairs"
        f"{' [95 % interval by bootstrap over people]' if _with_intervals(evaluation) else ''}."
    ]
    for source in evaluation.sources:
        people = _people_of(evaluation, source)
        pairs = len(ordered_pairs(people))
        parts.append(f"**{numbering_of(source).name}**: {pairs} ordered pairs of {', '.join(people)}.")
        parts.append(_rows(evaluation, source, COLUMNS))
        if numbering_of(source).regions:
            parts.append(_rows(evaluation, source, [(name, f"{name} Dice", 3) for name in REGIONS]))
    parts.extend(_notes(evaluation))
    return "\n\n".join(parts) + "\n"


def _rows(evaluation: Evaluation, source: str, columns: Sequence[tuple[str, str, int]]) -> str:
    """Format one table; a column without a value for any method is left out."""
    methods = evaluation.methods
    cells = {name: [evaluation.summary(source, method, name) for method in methods] for name, _, _ in columns}
    columns = [column for column in columns if any(cells[column[0]])]
    pairs = len(ordered_pairs(_people_of(evaluation, source)))
    lines = ["| method | " + " | ".join(title for _, title, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for number, method in enumerate(methods):
        values = [_cell(cells[name][number], decimals) for name, _, decimals in columns]
        measured = len(evaluation.select(source, method))
        part = f" ({measured} of {pairs} pairs)" if measured < pairs else ""
        lines.append(f"| {TITLES[method]}{part} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _people_of(evaluation: Evaluation, source: str) -> list[str]:
    return [name for name in evaluation.about["people"] if source_of(name) == source]


def _cell(summary: Summary | None, decimals: int) -> str:
    if summary is None:
        return "-"
    text = f"{summary.mean:.{decimals}f}"
    if summary.sd is not None:
        text += f" ± {summary.sd:.{decimals}f}"
    if summary.interval is not None:
        low, high = summary.interval
        text += f" [{low:.{decimals}f}, {high:.{decimals}f}]"
    return text


def _with_intervals(evaluation: Evaluation) -> bool:
    summaries = (evaluation.summary(source, evaluation.methods[0], "dice") for source in evaluation.sources)
    return any(summary is not None and summary.interval is not None for summary in summaries)


def _notes(evaluation: Evaluation) -> list[str]:
    """Return the remarks that are needed to read the tables correctly."""
    notes = []
    people = evaluation.about["people"]
    counts = {source: sum(source_of(name) == source for name in people) for source in evaluation.sources}
    if few := [numbering_of(source).name for source, count in counts.items() if count < FEWEST_PEOPLE]:
        notes.append(
            f"No interval for {' and '.join(few)}: two people drawn from two make the same two pairs every time. The "
            f"deviation there says how alike the two directions are, not how other people would do."
        )
    listed = {person for run in evaluation.card.details.get("runs", []) for person in run.get("people", [])}
    if listed and (trained := [name for name in people if name in listed]):
        notes.append(
            f"The weights were trained on {', '.join(trained)}: what they measure does not tell how other people "
            f"would do."
        )
    elif not listed and (trained := [name for name in people if name not in VALIDATION_PEOPLE]):
        notes.append(
            f"Not of the frozen validation set, so weights made here may have been trained on them: "
            f"{', '.join(trained)}."
        )
    notes += evaluation.failures
    notes += [f"{TITLES[r.method]}, {r.fixed} <- {r.moving}: {text}" for r in evaluation.rows for text in r.warnings]
    return notes

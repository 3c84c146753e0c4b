"""Draw an evaluation: box plots of the labels' Dice, by region and method."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..dataset.regions import REGIONS, numbering_of
from .methods import TITLES
from .protocol import Evaluation

BOX_SHARE = 0.8  # fraction of the space between two regions that boxes fill


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw one panel for each source, with a box for each method and region, and for all labels that are scored.

    A box shows the Dice of every label of the region in every pair.

    Args:
        evaluation: the rows to draw.
        path: of the PNG file.
    """
    sources, methods = evaluation.sources, evaluation.methods
    colours = [matplotlib.colormaps["tab10"](number) for number in range(10)]
    figure = Figure(figsize=(10, 3.4 * len(sources)), layout="constrained")
    panels = figure.subplots(len(sources), 1, sharex=True, squeeze=False)[:, 0]
    for panel, source in zip(panels, sources, strict=True):
        for number, method in enumerate(methods):
            _boxes(panel, evaluation, source, method, (number + 0.5) / len(methods) - 0.5, colours[number % 10])
        pairs = len({(row.fixed, row.moving) for method in methods for row in evaluation.select(source, method)})
        panel.set(
            title=f"{numbering_of(source).name}, {pairs} ordered pairs", ylabel="Dice of a label in a pair", ylim=(0, 1)
        )
        panel.set_xticks(range(len(REGIONS) + 1), [*REGIONS, "all labels"])
        panel.grid(axis="y", alpha=0.3)
    handles = [Patch(facecolor=colours[n % 10], label=TITLES[m]) for n, m in enumerate(methods)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(methods), frameon=False)
    figure.savefig(path, dpi=110, format="png")


def _boxes(panel: Axes, evaluation: Evaluation, source: str, method: str, shift: float, colour: tuple) -> None:
    numbering = numbering_of(source)
    labels = [*(numbering.regions.get(name, ()) for name in REGIONS), numbering.cortical]
    rows = [row.measures.label_dice for row in evaluation.select(source, method)]
    values = [[dice for scores in rows for label, dice in scores.items() if label in group] for group in labels]
    panel.boxplot(
        values,
        positions=[place + BOX_SHARE * shift for place in range(len(values))],
        widths=0.85 * BOX_SHARE / len(evaluation.methods),
        patch_artist=True,
        manage_ticks=False,
        showmeans=True,
        boxprops={"facecolor": colour, "alpha": 0.7},
        medianprops={"color": "black"},
        meanprops={"marker": ".", "markerfacecolor": "white", "markeredgecolor": "black"},
        flierprops={"marker": ".", "markersize": 3},
    )

"""`ulae benchmark`: measure how long a registration takes on this machine."""

from __future__ import annotations

import argparse
import json

from ..settings import PRESETS
from .options import Commands, add_command, add_json, add_network, progress_bar


def add_benchmark(commands: Commands) -> None:
    """Add the command `ulae benchmark`."""
    command = add_command(
        commands,
        "benchmark",
        _benchmark,
        "Time every preset on this machine, on the simulated pair of `ulae demo`.",
        "ulae benchmark",
        "ulae benchmark --presets fast --device cpu --json",
    )
    command.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="default: all")
    add_network(command)
    add_json(command)


def _benchmark(options: argparse.Namespace) -> None:
    from ..registration import register
    from ..simulation import simulate, true_error

    pair = simulate()
    figures = {}
    for preset in options.presets:
        with progress_bar(options.json, f"the simulated pair, preset {preset}") as progress:
            found = register(
                pair.subject,
                pair.template,
                preset=preset,
                device=options.device,
                precision=options.precision,
                model=options.model,
                progress=progress,
            )
        seconds = found.quality.seconds
        error = float(true_error(pair, found.transform).mean())
        figures[preset] = {**seconds, "all": round(sum(seconds.values()), 2), "mean error, mm": round(error, 2)}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{'seconds':16}" + "".join(f"{preset:>10}" for preset in figures))
    for row in max(figures.values(), key=len):  # the preset fast has no row for the refinement
        print(f"{row:16}" + "".join(f"{column.get(row, 0):10.2f}" for column in figures.values()))

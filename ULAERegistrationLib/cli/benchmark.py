"""`ulae benchmark`: measure how long a registration takes on this machine."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ..settings import PRESETS
from .options import Commands, UsageError, add_command, add_json, add_network, progress_bar

WRITING = "writing everything"
WIDTH = 40  # characters of the longest bar


def add_benchmark(commands: Commands) -> None:
    """Add the command `ulae benchmark`."""
    command = add_command(
        commands,
        "benchmark",
        _benchmark,
        "Time every stage of every preset on this machine, on the brains of `ulae demo` or on a pair of scans.",
        "ulae benchmark",
        "ulae benchmark --presets fast --device cpu --json",
    )
    command.add_argument("pair", nargs="*", metavar="FIXED MOVING", help="two scans instead of the simulated brains")
    command.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="default: all")
    add_network(command)
    add_json(command)


def _benchmark(options: argparse.Namespace) -> None:
    if len(options.pair) not in (0, 2):
        raise UsageError("Give two scans, the fixed and the moving one, or none.")
    from ..registration import register
    from ..simulation import simulate, true_error

    simulated = simulate()
    fixed, moving = options.pair or (simulated.subject, simulated.template)
    name = "the pair" if options.pair else "the simulated pair"
    figures = {}
    for preset in options.presets:
        with progress_bar(options.json, f"{name}, preset {preset}") as progress:
            began = time.perf_counter()
            found = register(
                fixed,
                moving,
                preset=preset,
                device=options.device,
                precision=options.precision,
                model=options.model,
                progress=progress,
            )
            read = time.perf_counter() - began - sum(found.quality.seconds.values())
        with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
            began = time.perf_counter()
            found.save(Path(folder) / "result")
            writing = time.perf_counter() - began
        seconds = {"reading and checking": round(read, 2), **found.quality.seconds, WRITING: round(writing, 2)}
        figures[preset] = {**seconds, "all": round(sum(seconds.values()), 2)}
        if not options.pair:
            figures[preset]["mean error, mm"] = round(float(true_error(simulated, found.transform).mean()), 2)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for preset, column in figures.items():
        print(f"\n{preset}\n" + table(column))


def table(figures: Mapping[str, float]) -> str:
    """Format the seconds of each stage, as multiples of the network's own and as bars.

    The multiples mean the same on every machine, as long as the network runs on the same device.

    Args:
        figures: seconds by stage, then "all" and other figures.
    """
    stages = [name for name in figures if name not in ("all", "mean error, mm")]
    longest = max(figures[name] for name in stages)
    lines = [f"{'':22}{'seconds':>9}{'of the network':>16}"]
    for name, value in figures.items():
        share = f"{value / figures['network']:16.1f}" if name in stages or name == "all" else ""
        bar = "  " + "#" * round(WIDTH * value / longest) if name in stages else ""
        lines.append(f"{name:22}{value:9.2f}{share}{bar}")
    return "\n".join(lines)

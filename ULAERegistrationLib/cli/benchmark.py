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
ALL, MEMORY, DISK, ERROR = "all", "peak memory, GB", "on disk, MB", "mean error, mm"
NO_STAGES = (ALL, MEMORY, DISK, ERROR)
WIDTH = 40  # characters of the longest bar


def add_benchmark(commands: Commands) -> None:
    """Add the command `ulae benchmark`."""
    command = add_command(
        commands,
        "benchmark",
        _benchmark,
        "Measure every preset on this machine, its stages, memory and files, with the brains of `ulae demo` or a pair.",
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
    from ..evaluation.peak_memory import peak_gb, reset_peak
    from ..memory import return_freed_memory
    from ..registration import register
    from ..simulation import simulate, true_error

    simulated = simulate()
    fixed, moving = options.pair or (simulated.subject, simulated.template)
    name = "the pair" if options.pair else "the simulated pair"
    figures = {}
    for preset in options.presets:
        with progress_bar(options.json, f"{name}, preset {preset}") as progress:
            return_freed_memory()
            reset_peak()
            began = time.perf_counter()
            found = register(
                fixed,
                moving,
                preset=preset,
                alignment="affine",  # with which the network runs for any pair
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
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        seconds = {"reading and checking": round(read, 2), **found.quality.seconds, WRITING: round(writing, 2)}
        figures[preset] = {**seconds, ALL: round(sum(seconds.values()), 2), DISK: round(size / 1e6)}
        if (memory := peak_gb()) is not None:  # Windows does not tell it
            figures[preset][MEMORY] = round(memory, 2)
        if not options.pair:
            figures[preset][ERROR] = round(float(true_error(simulated, found.transform).mean()), 2)
        del found  # the next preset's memory is its own
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for preset, column in figures.items():
        print(f"\n{preset}\n" + table(column))


def table(figures: Mapping[str, float]) -> str:
    """Format the seconds of each stage, as multiples of the network's own and as bars.

    The multiples mean the same on every machine, as long as the network runs on the same device.

    Args:
        figures: seconds by stage, then "all" and other figures (`NO_STAGES`).
    """
    stages = [name for name in figures if name not in NO_STAGES]
    longest = max(figures[name] for name in stages)
    lines = [f"{'':22}{'seconds':>9}{'of the network':>16}"]
    for name, value in figures.items():
        share = f"{value / figures['network']:16.1f}" if name in stages or name == ALL else ""
        bar = "  " + "#" * round(WIDTH * value / longest) if name in stages else ""
        lines.append(f"{name:22}{value:9.2f}{share}{bar}")
    return "\n".join(lines)

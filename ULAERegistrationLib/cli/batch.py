"""`ulae batch`: register every pair of a table."""

from __future__ import annotations

import argparse

from ..errors import RegistrationError
from .options import Commands, add_command, add_settings, progress_bar, settings_of


def add_batch(commands: Commands) -> None:
    """Add the command `ulae batch`."""
    command = add_command(
        commands,
        "batch",
        _batch,
        "Register every pair of a table; the same call goes on later.",
        "ulae batch cohort.csv -o results",
    )
    command.add_argument(
        "table",
        metavar="TABLE",
        help="CSV with the columns name, fixed, moving, and any of fixed_mask, moving_mask, initial_transform, "
        "moving_labels",
    )
    command.add_argument("-o", "--output", required=True, metavar="FOLDER", help="a folder for each pair, summary.csv")
    add_settings(command)


def _batch(options: argparse.Namespace) -> None:
    from ..process.batch import DONE, read_cases, results_of_others, run_batch

    cases, settings = read_cases(options.table), settings_of(options)
    with progress_bar(options.quiet, options.table) as progress:
        rows = run_batch(cases, options.output, settings, progress)
    failed = [row for row in rows if row["status"] != DONE]
    if not options.quiet:
        for row in rows:
            print(f"{row['name']}: {row.get('verdict', row['status'])}. {row['message']}")
        if others := results_of_others(cases, options.output):
            print(f"{options.output} also holds results of pairs that the table does not name: {', '.join(others)}.")
    if failed:
        names = ", ".join(row["name"] for row in failed)
        raise RegistrationError(
            f"{len(failed)} of {len(rows)} pairs failed ({names}); see {options.output}/summary.csv."
        )

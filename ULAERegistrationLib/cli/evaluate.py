"""`ulae evaluate`: compare methods on people with label maps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import RegistrationError
from .options import Commands, UsageError, add_command, add_json, add_network, progress_bar


def add_evaluate(commands: Commands) -> None:
    """Add the command `ulae evaluate`."""
    command = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Measure methods on labelled people, side by side.",
        "ulae evaluate brains -o table",
        "ulae evaluate brains -o table --methods affine,accurate --people ann bob",
    )
    command.add_argument(
        "data", metavar="DATA", help="folder of <person>_t1.nii.gz and _seg.nii.gz, affine to one grid"
    )
    command.add_argument("-o", "--output", required=True, metavar="FOLDER", help="for the JSON, the table, the picture")
    command.add_argument(
        "--methods",
        metavar="A,B",
        help="of affine, greedy, syn, syn-cc, network, accurate, smooth; default: affine and ours, as greedy needs "
        "picsl-greedy, and syn and syn-cc need antspyx",
    )
    command.add_argument("--people", nargs="+", metavar="PERSON", help="default: everyone who has labels")
    add_network(command)
    add_json(command)


def _evaluate(options: argparse.Namespace) -> None:
    from ..evaluation.methods import check_names
    from ..evaluation.protocol import DEFAULT_METHODS, evaluate
    from ..evaluation.tables import save, table
    from ..files.writing import check_output_folder

    methods = [name.strip() for name in options.methods.split(",")] if options.methods else DEFAULT_METHODS
    try:
        check_names(methods)
    except RegistrationError as error:
        raise UsageError(str(error)) from None
    folder = check_output_folder(options.output)
    with progress_bar(options.json, f"people of {options.data}") as progress:
        evaluation = evaluate(
            Path(options.data),
            methods,
            options.people,
            options.model,
            options.device,
            options.precision,
            progress,
        )
    # Printed first, so that a full disk does not take hours of computing with it.
    print(json.dumps(evaluation.to_dict(), indent=2) if options.json else table(evaluation))
    save(evaluation, folder)
    if evaluation.failures:
        raise RegistrationError(f"Not all was measured. {' '.join(evaluation.failures)}")

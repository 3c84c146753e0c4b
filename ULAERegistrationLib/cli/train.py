"""The commands of those who make weights: train them, and measure what they are worth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .errors import RegistrationError
from .terminal import add_command, add_network, progress_bar


def add_train(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "train", _train, "Train the network, or pack a folder of brains for it.")
    command.add_argument("data", metavar="DATA", help="the packed file (.npz); with --pack, the folder of brains")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the run's folder; with --pack, the file")
    command.add_argument("--pack", action="store_true", help="pack DATA into one file instead of training")
    command.add_argument("--settings", metavar="FILE", help="a recipe (JSON) as a run writes it")
    command.add_argument("--start-from", metavar="FILE", help="begin a new run from these weights (.safetensors)")
    command.add_argument("--minutes", type=float, metavar="N", help="stop after so long; the same command goes on")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _train(options: argparse.Namespace) -> None:
    import torch

    from .training.data import Brains, pack
    from .training.parallel import processes
    from .training.recipe import TrainingSettings
    from .training.trainer import Trainer
    from .weights import load_network

    if options.pack:
        print(json.dumps(pack(Path(options.data), Path(options.output))))
        return
    if not Path(options.data).is_file():
        raise RegistrationError(f"The packed data {options.data} does not exist; make it with `ulae train --pack`.")
    text = Path(options.settings).read_text() if options.settings else "{}"
    settings = TrainingSettings.from_json(text)
    start, history = None, []
    if options.start_from:
        start, card = load_network(options.start_from)
        history = card.details.get("runs", [])
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with processes(device) as (all_processes, device):
        brains = Brains(Path(options.data), device)
        seconds = 60 * options.minutes if options.minutes else float("inf")
        Trainer(Path(options.output), brains, settings, device, start, history, all_processes).train(seconds)


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    command = add_command(commands, "evaluate", _evaluate, "Measure methods on labelled people, side by side.")
    command.add_argument(
        "data", metavar="DATA", help="folder of <person>_t1.nii.gz and _seg.nii.gz, affine to one grid"
    )
    command.add_argument("-o", "--output", required=True, metavar="FOLDER", help="for the JSON, the table, the picture")
    command.add_argument(
        "--methods",
        metavar="A,B",
        help="of affine, syn, network, accurate, smooth; default: all but syn, which needs antspyx",
    )
    command.add_argument("--people", nargs="+", metavar="PERSON", help="default: the validation people of the split")
    add_network(command)


def _evaluate(options: argparse.Namespace) -> None:
    from .images import check_output_folder

    folder = check_output_folder(options.output)
    from .evaluation.protocol import DEFAULT_METHODS, evaluate
    from .evaluation.tables import save, table
    from .training.sources import VALIDATION_PEOPLE

    with progress_bar(False) as progress:
        evaluation = evaluate(
            Path(options.data),
            options.methods.split(",") if options.methods else DEFAULT_METHODS,
            options.people or VALIDATION_PEOPLE,
            options.model,
            options.device,
            options.precision,
            progress,
        )
    save(evaluation, folder)
    print(table(evaluation))

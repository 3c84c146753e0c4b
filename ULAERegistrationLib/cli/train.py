"""`ulae train`: train the network, or prepare scans and pack brains for it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import Cancelled, RegistrationError
from ..files.writing import check_output_file, check_output_folder
from .interrupts import stop_request
from .options import Commands, UsageError, add_command

NOTES = """\
From scans to weights of one's own: --prepare, look at BRAINS/prepared.png, --pack, train. Scans are named
<person>_t1.nii.gz, their manual labels and masks of the brain, if there are any, <person>_seg and <person>_mask, in any
format that is read here. docs/training/own-brains.md goes through it.

"""


def add_train(commands: Commands) -> None:
    """Add the command `ulae train`."""
    command = add_command(
        commands,
        "train",
        _train,
        "Train the network; or prepare a folder of scans, or pack a folder of brains for it.",
        "ulae train --prepare scans -o brains",
        "ulae train --pack brains -o brains.npz",
        "ulae train brains.npz -o run --settings own.json "
        "--start-from ULAERegistrationLib/models/ulae-t1-brain.safetensors",
        "ulae train brains.npz -o second --start-from run/weights.safetensors",
    )
    command.set_defaults(ending=_ending)
    command.epilog = NOTES + (command.epilog or "")
    command.add_argument(
        "data", metavar="DATA", help="the packed file (.npz); with --prepare the folder of scans, with --pack of brains"
    )
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="the run's folder; with --prepare that of the brains, with --pack the file",
    )
    instead = command.add_mutually_exclusive_group()
    instead.add_argument(
        "--prepare", action="store_true", help="place the scans of DATA in the network's frame instead of training"
    )
    instead.add_argument("--pack", action="store_true", help="pack DATA into one file instead of training")
    command.add_argument(
        "--settings", metavar="FILE", help="a recipe (JSON) as a run writes it; a run that goes on has its own"
    )
    command.add_argument("--start-from", metavar="FILE", help="begin a new run from these weights (.safetensors)")
    command.add_argument("--minutes", type=float, metavar="N", help="stop after so long; the same command goes on")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _ending(options: argparse.Namespace) -> str:
    """Say what there is of a training or a preparation that was cancelled."""
    if options.pack:
        return "cancelled, nothing was written"
    return "cancelled; what was finished is kept, and the same call goes on from there"


def _train(options: argparse.Namespace) -> None:
    unused = [name for name in ("settings", "start_from", "minutes") if getattr(options, name) is not None]
    if unused and (options.prepare or options.pack):
        names = " and ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise UsageError(f"Nothing is trained with --prepare or --pack; leave out {names}.")
    if options.minutes is not None and not options.minutes > 0:  # as not a number is not either
        raise UsageError(f"--minutes {options.minutes:g} is no time to train; give a number above 0, or leave it out.")
    if options.prepare:
        _prepare(Path(options.data), Path(options.output))
    elif options.pack:
        from ..training.data import pack

        print(json.dumps(pack(Path(options.data), check_output_file(options.output, (".npz",)))))
    else:
        _run(options)


def _prepare(scans: Path, brains: Path) -> None:
    from ..training.preparation import SHEET, prepare

    outcomes = prepare(scans, brains, lambda outcome: print(outcome.line(), flush=True))
    failed = [outcome.person for outcome in outcomes if outcome.status == "failed"]
    if any(outcome.status in ("prepared", "as before") for outcome in outcomes):
        print(f"see whether all brains lie right: {brains / SHEET}")
    if failed:
        people = sum(outcome.status != "passed over" for outcome in outcomes)
        raise RegistrationError(
            f"{len(failed)} of {people} people failed ({', '.join(failed)}); mend their files and call it again."
        )


def _run(options: argparse.Namespace) -> None:
    # Imported here because these load torch, which would delay the help of the command line.
    import torch

    from ..network.devices import choose_device
    from ..network.weights import load_network
    from ..training.checkpoint import settings_of
    from ..training.data import Brains
    from ..training.parallel import processes
    from ..training.recipe import read_recipe
    from ..training.trainer import Trainer

    if Path(options.data).is_dir():
        raise RegistrationError(
            f"{options.data} is a folder; pack its brains first: ulae train --pack {options.data} -o brains.npz"
        )
    if not Path(options.data).is_file():
        raise RegistrationError(f"The packed data {options.data} does not exist; make it with `ulae train --pack`.")
    folder = check_output_folder(options.output)
    settings = read_recipe(options.settings) if options.settings else settings_of(folder)
    start, history, licence = None, [], None
    if options.start_from:
        start, card = load_network(options.start_from)
        history, licence = card.details.get("runs", []), card.details.get("licence")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    choose_device("cuda" if device == "cuda" else "cpu")  # which refuses one that is not there
    with processes(device) as (all_processes, device):
        brains = Brains(Path(options.data), settings.validation_people, device)
        seconds = float("inf") if options.minutes is None else 60 * options.minutes
        with stop_request() as request:
            is_done = Trainer(folder, brains, settings, device, start, history, licence, all_processes).train(
                seconds, request.is_made
            )
    if request.is_made() and not is_done:
        raise Cancelled(f"stopped; the weights so far are in {folder}, and the same call goes on from there")

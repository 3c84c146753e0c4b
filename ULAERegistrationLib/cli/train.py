"""`ulae train`: train the network, or pack the data for it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import RegistrationError
from .options import Commands, add_command


def add_train(commands: Commands) -> None:
    """Add the command `ulae train`."""
    command = add_command(
        commands,
        "train",
        _train,
        "Train the network, or pack a folder of brains for it.",
        "ulae train --pack brains -o brains.npz",
        "ulae train brains.npz -o run --minutes 30",
        "ulae train brains.npz -o second --start-from run/weights.safetensors",
    )
    command.add_argument("data", metavar="DATA", help="the packed file (.npz); with --pack, the folder of brains")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the run's folder; with --pack, the file")
    command.add_argument("--pack", action="store_true", help="pack DATA into one file instead of training")
    command.add_argument(
        "--settings", metavar="FILE", help="a recipe (JSON) as a run writes it; a run that goes on has its own"
    )
    command.add_argument("--start-from", metavar="FILE", help="begin a new run from these weights (.safetensors)")
    command.add_argument("--minutes", type=float, metavar="N", help="stop after so long; the same command goes on")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _train(options: argparse.Namespace) -> None:
    # Imported here because these load torch, which would delay the help of the command line.
    import torch

    from ..network.weights import load_network
    from ..training.checkpoint import settings_of
    from ..training.data import Brains, pack
    from ..training.parallel import processes
    from ..training.recipe import read_recipe
    from ..training.trainer import Trainer

    if options.pack:
        print(json.dumps(pack(Path(options.data), Path(options.output))))
        return
    if not Path(options.data).is_file():
        raise RegistrationError(f"The packed data {options.data} does not exist; make it with `ulae train --pack`.")
    folder = Path(options.output)
    settings = read_recipe(options.settings) if options.settings else settings_of(folder)
    start, history = None, []
    if options.start_from:
        start, card = load_network(options.start_from)
        history = card.details.get("runs", [])
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with processes(device) as (all_processes, device):
        brains = Brains(Path(options.data), settings.validation_people, device)
        seconds = 60 * options.minutes if options.minutes else float("inf")
        Trainer(folder, brains, settings, device, start, history, all_processes).train(seconds)

"""Runs of a training: one from its beginning to its end, and the curve that it leaves."""

from __future__ import annotations

import csv

from ULAERegistrationLib.training.trainer import Trainer


def train(folder, brains, settings, **kwargs) -> Trainer:
    trainer = Trainer(folder, brains, settings, log=lambda line: None, **kwargs)
    trainer.train()
    return trainer


def curve(folder) -> list[dict[str, float]]:
    with (folder / "curve.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

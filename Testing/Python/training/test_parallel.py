"""Two processes train one run: each sees pairs of its own, and both end with the same weights."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys

import pytest
import torch

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.network.weights import SHIPPED, load_network
from ULAERegistrationLib.training.data import Brains
from ULAERegistrationLib.training.trainer import Trainer

pytestmark = pytest.mark.slow


def run_two(command: list[str]) -> list[str]:
    """What two processes print, started as torchrun starts them, but without its own, as slow to start as theirs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    both = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = []
    for process in both:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        said.append(output)
    return said


def test_two_processes_train_one_run_and_go_on_with_it(tmp_path, packed, settings):
    """Both see their own pairs, end with the same weights, write once, and resume from their own states."""
    (tmp_path / "recipe.json").write_text(settings.to_json())
    run = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    # Every option of the documented command: torchrun takes for its own what abbreviates one of its options.
    program = ["-m", "ULAERegistrationLib", "train", str(packed), "-o", str(run), "--device", "cpu"]
    program += ["--settings", str(tmp_path / "recipe.json"), "--start-from", str(SHIPPED)]
    done = subprocess.run([*launcher, *program, "--minutes", "0.0001"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 1
    assert checkpoint["history"] == load_network()[1].details["runs"]
    assert checkpoint["licence"] == load_network()[1].licence
    first, second = checkpoint["random"]
    assert not torch.equal(first, second)
    assert "".join(run_two(program)).count("going on from phase 0, step 1") == 1
    with (run / "curve.csv").open() as file:
        assert [float(row["step"]) for row in csv.DictReader(file)] == [2]
    with pytest.raises(RegistrationError, match="trained by 2 processes; go on with as many, not 1"):
        Trainer(run, Brains(packed), settings, log=lambda line: None)


def test_two_processes_take_the_mean_of_their_gradients(tmp_path):
    """What two processes make of two pairs is what one makes of the mean of both losses.

    Nothing of the group is left then: one of its threads would now and then abort Python as it ends.
    """
    script = tmp_path / "mean.py"
    script.write_text(GRADIENTS)
    assert run_two([str(script)]) == ["the same\n"] * 2


GRADIENTS = """
import torch
from pathlib import Path
from ULAERegistrationLib.network.ulaenet import ULAENet
from ULAERegistrationLib.training.parallel import processes


def compare(together):
    torch.manual_seed(0)
    alone = ULAENet()
    shared = ULAENet()
    shared.load_state_dict(alone.state_dict())
    call = together.share(shared)
    pairs = torch.rand(2, 2, 1, 1, 32, 32, 32)
    sum(flow.pow(2).sum() for flow in call(fixed=pairs[together.rank, 0], moving=pairs[together.rank, 1])).backward()
    sum(flow.pow(2).sum() / 2 for pair in pairs for flow in alone(fixed=pair[0], moving=pair[1])).backward()
    for mine, other in zip(shared.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5 * float(other.grad.abs().max()))
    print("the same", flush=True)


with processes("cpu") as (together, device):
    compare(together)
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
assert not [thread for thread in threads if "gloo" in thread], threads
"""

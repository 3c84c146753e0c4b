"""Training in one process, or in several that `torchrun` started."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
import torch.distributed as distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Processes:
    """The processes of one run; with a single process, the methods have no effect.

    Attributes:
        rank: number of this process. Only rank 0 validates, writes files and logs.
        count: number of processes.
    """

    def __init__(self) -> None:
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.count = distributed.get_world_size() if distributed.is_initialized() else 1

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes files and logs."""
        return self.rank == 0

    def share(self, network: nn.Module) -> Callable:
        """Wrap a network so that its gradients are averaged over the processes."""
        if self.count == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def agree(self, answer: bool) -> bool:
        """Return the first process's answer in every process.

        Processes would otherwise decide differently, as their clocks differ; one that stops alone blocks the others.
        """
        if self.count == 1:
            return answer
        answers = [answer]
        distributed.broadcast_object_list(answers)
        return answers[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the run that `torchrun` started, if it did: gloo on CPUs, nccl on GPUs, one GPU per process.

    Nothing may refer to a network from `Processes.share` when the block ends, because that network keeps the process
    group alive.

    Args:
        device: "cpu" or "cuda".

    Yields:
        The processes, and this one's own device.
    """
    if "LOCAL_RANK" not in os.environ:
        yield Processes(), device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # Import before creating the group: this module binds the current group as a default argument and would keep it
    # alive. DistributedDataParallel imports it.
    import_module("torch.distributed.nn.functional")
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(), device
    finally:
        # A process group that is still referred to keeps its threads, one of which aborts Python at its exit.
        gc.collect()
        distributed.destroy_process_group()

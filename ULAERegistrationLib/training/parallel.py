"""One process or many: what a training run needs to know of the others that `torchrun` started beside it."""

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
    """The processes of one run; alone, everything here does nothing.

    Attributes:
        rank, count: which of how many this is. Rank 0 alone validates, writes and speaks.
    """

    def __init__(self) -> None:
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.count = distributed.get_world_size() if distributed.is_initialized() else 1

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks."""
        return self.rank == 0

    def share(self, network: nn.Module) -> Callable:
        """The network as it is to be called: its gradients become the mean over the processes."""
        if self.count == 1:
            return network
        device = next(network.parameters()).device
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def agree(self, answer: bool) -> bool:
        """The first process's answer, in every process: clocks differ, and one that stops alone hangs the others."""
        if self.count == 1:
            return answer
        answers = [answer]
        distributed.broadcast_object_list(answers)
        return answers[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks, in every process."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the run that `torchrun` started, if one did: gloo on CPUs, nccl on GPUs, one GPU a process.

    What shares a network must be gone when the block ends: it holds the group.

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
        # A group that something still holds keeps its threads, and one of those aborts Python as it ends.
        gc.collect()
        distributed.destroy_process_group()

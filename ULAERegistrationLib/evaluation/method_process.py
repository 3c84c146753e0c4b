"""Run a method in a separate process, so that its memory can be measured and its threads affect nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RegistrationError
from ..memory import keep_freed_memory
from ..tensors import array_of, tensor_of


@dataclass(frozen=True)
class Answer:
    """The flow that a method found for a pair, its time and its memory.

    Attributes:
        flow: `[1, 3, L, P, S]`, voxels, fixed to moving.
        seconds: from two images in memory to the flow in memory; the weights have been loaded before.
        memory_gb: peak resident memory of the process meanwhile, 10^9 bytes, Python, torch and the images included;
            None where the system does not report it.
        gpu_memory_gb: peak memory that torch held on a CUDA device, 10^9 bytes; None where it used none.
        warnings: of the method, one sentence each.
    """

    flow: Tensor = field(repr=False)
    seconds: float
    memory_gb: float | None
    gpu_memory_gb: float | None
    warnings: tuple[str, ...]


class MethodProcess:
    """The process of one method, as a context manager; leaving the context kills the process.

    Args:
        method: one of `methods.METHODS`.
        options: `model`, `device` and `precision` of `methods.prepare`.
    """

    def __init__(self, method: str, **options: Any) -> None:
        # Spawned, because a fork would share the caller's memory, and torch's threads do not work after one.
        context = multiprocessing.get_context("spawn")
        self._method = method
        self._folder = tempfile.TemporaryDirectory(prefix="ulae-evaluate-")
        self._connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, method, options, self._folder.name), daemon=True)
        with _without_ctrl_c():
            self._process.start()
        far_end.close()

    def __enter__(self) -> MethodProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._folder.cleanup()

    def register(self, fixed: Path, moving: Path) -> Answer:
        """Run the method on two image files.

        Raises:
            RegistrationError: where the method fails or its process ends.
        """
        file = Path(self._folder.name) / "flow.npy"
        try:
            self._connection.send((fixed, moving, file))
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RegistrationError(
                f"The process of the method {self._method!r} ended (exit code {self._process.exitcode}), perhaps for "
                f"lack of memory; close other programs, or leave it out of --methods."
            ) from None
        if isinstance(answer, str):
            raise RegistrationError(answer)
        return Answer(flow=tensor_of(np.load(file)), **answer)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C from their first instruction on.

    The caller hears it too, and ends them; they would only print a traceback. Only the main thread can set signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, method: str, options: dict[str, Any], folder: str) -> None:
    """Run the process: register each pair of files received, until the connection closes."""
    keep_freed_memory()
    tempfile.tempdir = folder  # the caller removes it, however this process ends
    try:
        # Imported here, so that a failure to load what a method needs is reported to the caller.
        from .methods import prepare
        from .peak_memory import peak_gb, reset_peak
        from .people import read_image

        run = prepare(method, **options)
        while True:
            fixed, moving, file = connection.recv()
            images = [tensor_of(read_image(path) / np.float32(255))[None, None] for path in (fixed, moving)]
            reset_peak()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            flow, warnings = run(fixed=images[0], moving=images[1])
            answer = {"seconds": time.perf_counter() - began, "memory_gb": peak_gb(), "warnings": warnings}
            on_gpu = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0
            np.save(file, array_of(flow))
            connection.send({**answer, "gpu_memory_gb": on_gpu or None})
    except EOFError:
        return
    except RegistrationError as error:
        connection.send(str(error))
    except Exception as error:
        traceback.print_exc()
        connection.send(f"The method {method!r} failed ({type(error).__name__}: {error}); leave it out of --methods.")

"""Look at transform files before ITK reads them: some make it end the process, or print pages."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from .hdf5 import MAGIC, is_cut_short
from .text_headers import LONGEST

TEXT, TEXT_EXTENSIONS = b"#Insight Transform File", (".tfm", ".txt")
REFUSED = 3  # exit status
READER = f"""
import sys, SimpleITK
try:
    SimpleITK.ReadTransform(sys.argv[1])
except RuntimeError:
    sys.exit({REFUSED})
"""
SECONDS = 120  # the longest that a file may take to be read
MATLAB_EXTENSION = ".mat"
MATLAB_TYPES = {0: "<f8", 10: "<f4"}


def look_at_transform(path: Path) -> bytes:
    """Look at a transform file.

    Returns:
        Its beginning, up to `LONGEST` bytes.

    Raises:
        ValueError: where it is cut short, does not begin as such files do, or has parameters that are no numbers.
    """
    with path.open("rb") as file:
        beginning = file.read(LONGEST)
    if beginning.startswith(MAGIC):
        if is_cut_short(beginning, path.stat().st_size):
            raise ValueError("cut short")
        _try_in_another_process(path)
    if path.name.lower().endswith(TEXT_EXTENSIONS):
        _look_at_text(beginning)
    if path.name.lower().endswith(MATLAB_EXTENSION):
        _look_at_matlab(path.read_bytes())
    return beginning


def _try_in_another_process(path: Path) -> None:
    """Read an HDF5 file where a crash is no loss: a few bytes may end the process in which its library reads them."""
    if "python" not in Path(sys.executable).name.lower():  # an application that has Python in it
        return
    try:
        ended = subprocess.run(
            [sys.executable, "-c", READER, str(path.absolute())],
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("endless") from None
    except OSError:  # no other process can be started
        return
    if ended.returncode not in (0, 1):  # 1: that process could not do its work
        raise ValueError("it is refused, or ends the process")


def _look_at_text(content: bytes) -> None:
    if not content.startswith(TEXT):
        raise ValueError("another beginning")
    text = content.decode("latin-1")
    if len(content) >= LONGEST:
        text = text[: max(text.rfind(" "), text.rfind("\n"))]  # without a number that may be cut
    for line in text.split("\n"):
        name, _, numbers = line.partition(":")
        if name.strip() in ("Parameters", "FixedParameters"):
            _ = [float(number) for number in numbers.split()]


def _look_at_matlab(content: bytes) -> None:
    """Look at variables of Matlab's format 4: the parameters, called as their class is, then the fixed ones."""
    names = []
    while content:
        if len(content) < 20:
            raise ValueError("cut short")
        kind, rows, columns, imaginary, length = struct.unpack_from("<5i", content)
        if kind not in MATLAB_TYPES or imaginary or min(rows, columns) < 0 or not 0 < length < 256:
            raise ValueError("another header")
        names.append(content[20 : 20 + length].rstrip(b"\0"))
        end = 20 + length + rows * columns * np.dtype(MATLAB_TYPES[kind]).itemsize
        if end > len(content):
            raise ValueError("cut short")
        if not np.isfinite(np.frombuffer(content[20 + length : end], MATLAB_TYPES[kind])).all():
            raise ValueError("no numbers")
        content = content[end:]
    is_class = bool(names) and re.fullmatch(rb"\w+_(double|float)_\d_\d", names[0]) is not None
    if not is_class or names[1:] not in ([], [b"fixed"]):
        raise ValueError("other variables")

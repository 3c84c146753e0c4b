"""Read thousands of damaged files, to see that each ends in an image or in a sentence.

    python Testing/tools/fuzz_reading.py --mutations 20000

Small files of every format are changed at random, with a fixed seed, and read in a process of its own. It may take
`MEMORY_MB` more memory than it has at its start, and `SECONDS` for a file. What ends that process, takes longer, or
raises anything but a `RegistrationError` is printed with its number; `--only FORMAT NUMBER` makes that file again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.transforms import read_transform
from ULAERegistrationLib.files.volumes import read_volume

MEMORY_MB = 1024
SECONDS = 20
SIZE = (12, 13, 14)
SPACING = (9.5, 9.5, 9.0)  # a brain of a litre in a few voxels
TRANSFORMS = ("h5", "tfm", "mat")
# How many bytes at the beginning are changed most: the header.
HEADER = {"nii": 352, "nii.gz": 400, "nii2": 540, "hdr": 348, "nrrd": 400, "mha": 400, "mgh": 284}
HARD_NUMBERS = (
    *(b"9999", b"-1", b"nan", b"\xff\xff\xff\x7f", b"\0\0\0\0"),
    *(b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\x80\x7f"),
)


def seed_files(folder: Path) -> dict[str, Path]:
    """Write a small file of every format, and return them by format."""
    z, y, x = np.indices(SIZE[::-1]) - np.reshape([(side - 1) / 2 for side in SIZE[::-1]], (3, 1, 1, 1))
    values = np.clip(100 - 15 * np.sqrt(x**2 + y**2 + z**2), 0, None).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING)
    files = {}
    for kind in ("nii", "nii.gz", "hdr", "nrrd", "mha", "mnc"):
        files[kind] = folder / f"seed.{kind}"
        sitk.WriteImage(image, str(files[kind]))
    files["nii2"] = folder / "seed2.nii"
    files["nii2"].write_bytes(_nifti_2(image))
    files["mgh"] = folder / "seed.mgh"
    header = struct.pack(">7ih", 1, *SIZE, 1, 3, 0, 1) + struct.pack(
        ">15f", *SPACING, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0
    )
    files["mgh"].write_bytes(header.ljust(284, b"\0") + values.astype(">f4").tobytes())
    field = sitk.DisplacementFieldTransform(sitk.Image([5, 6, 7], sitk.sitkVectorFloat64, 3))
    turn = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3)
    for kind, transform in {"h5": field, "tfm": turn, "mat": turn}.items():
        files[kind] = folder / f"seed.{kind}"
        sitk.WriteTransform(transform, str(files[kind]))
    return files


def _nifti_2(image: sitk.Image) -> bytes:
    header = bytearray(544)
    struct.pack_into("<i8s2h", header, 0, 540, b"n+2\0\r\n\x1a\n", 16, 32)
    struct.pack_into("<8q", header, 16, 3, *SIZE, 1, 1, 1, 1)
    struct.pack_into("<8d", header, 104, 1, *SPACING, 0, 0, 0, 0)
    struct.pack_into("<q2d", header, 168, 544, 1, 0)
    struct.pack_into("<2i", header, 344, 1, 0)
    return bytes(header) + sitk.GetArrayFromImage(image).tobytes()


def mutated(data: bytes, kind: str, number: int) -> bytes:
    """Change a file; the same number makes the same file."""
    chance = random.Random(f"{kind} {number}")
    inner = kind == "nii.gz" and chance.random() < 0.7  # else the compressed bytes themselves are changed
    changed = bytearray(gzip.decompress(data) if inner else data)
    head = min(HEADER.get(kind, 4000), len(changed))
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(head if chance.random() < 0.9 else len(changed))
        what = chance.random()
        if what < 0.4:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif what < 0.5:
            changed[at : at + 1] = bytes([changed[at] ^ (1 << chance.randrange(8))]) if at < len(changed) else b""
        elif what < 0.75:
            number_ = chance.choice(HARD_NUMBERS)
            changed[at : at + len(number_)] = number_
        elif what < 0.85:
            del changed[at : at + chance.randrange(1, 9)]
        elif what < 0.95:
            changed[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            del changed[at:]
        if not changed:
            return b""
        head = min(head, len(changed))
    return gzip.compress(bytes(changed), 1) if inner else bytes(changed)


def read(kind: str, path: Path) -> str:
    """Read a file as a user's, and return "read" or "refused"."""
    try:
        read_transform(path) if kind in TRANSFORMS else read_volume(path, "fixed")
    except RegistrationError:
        return "refused"
    return "read"


def cases_of(kinds: Sequence[str], mutations: int) -> list[tuple[str, int]]:
    """The files to read: their formats and numbers."""
    return [(kind, number) for kind in kinds for number in range(mutations // len(kinds))]


def child(folder: Path, kinds: Sequence[str], mutations: int, first: int) -> None:
    """Read the files from the one at index `first` on, and print the index of each before it, and how it ended."""
    seeds = seed_files(folder)
    contents = {kind: seed.read_bytes() for kind, seed in seeds.items()}
    for kind, seed in seeds.items():
        assert read(kind, seed) == "read", kind
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (MEMORY_MB << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for index, (kind, number) in enumerate(cases_of(kinds, mutations)[first:], start=first):
        seeds[kind].write_bytes(mutated(contents[kind], kind, number))
        print(index, flush=True)
        signal.alarm(SECONDS)  # ends the process
        print(read(kind, seeds[kind]), flush=True)
        signal.alarm(0)


def fuzz(kinds: Sequence[str], mutations: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Read damaged files of some formats.

    Args:
        kinds: the formats.
        mutations: how many files, of all formats together.

    Returns:
        How many ended how, by format, and what happened at those that ended otherwise than they should.
    """
    cases = cases_of(kinds, mutations)
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    bad: list[str] = []
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        while first < len(cases):
            command = [sys.executable, __file__, "--child", folder, ",".join(kinds), str(mutations), str(first)]
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", env=os.environ)
            last = first - 1
            for line in ended.stdout.splitlines():
                if line.isdigit():
                    last = int(line)
                elif line in ("read", "refused"):
                    outcomes[cases[last][0]][line] += 1
            if ended.returncode == 0:
                break
            kind, number = cases[last]
            code = signal.Signals(-ended.returncode).name if ended.returncode < 0 else str(ended.returncode)
            reason = (ended.stderr.strip().splitlines() or [""])[-1]
            bad.append(f"--only {kind} {number}: {code} {reason}"[:200])
            outcomes[kind]["bad"] += 1
            first = last + 1
    return outcomes, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=20_000, help="of all formats together; default: 20000")
    parser.add_argument("--formats", nargs="+", help="default: all")
    parser.add_argument("--only", nargs=2, metavar=("FORMAT", "NUMBER"), help="read this one file, in this process")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, kinds, mutations, first = options.child
        child(Path(folder), kinds.split(","), int(mutations), int(first))
        return 0
    with tempfile.TemporaryDirectory() as name:
        seeds = seed_files(Path(name))
        if options.only:
            kind, number = options.only
            path = seeds[kind]
            path.write_bytes(mutated(path.read_bytes(), kind, int(number)))
            print(read(kind, path))
            return 0
    outcomes, bad = fuzz(options.formats or list(seeds), options.mutations)
    for kind, counts in outcomes.items():
        print(json.dumps({"format": kind, **counts}))
    print("\n".join(bad))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())

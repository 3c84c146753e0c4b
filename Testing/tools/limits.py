"""Write `docs/limits.md` from the table of bad and odd inputs: python Testing/tools/limits.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from input_cases import CASES, InputCase  # noqa: E402
from reported_faults import REPORTED_FAULTS  # noqa: E402

DOC = Path(__file__).parents[2] / "docs" / "limits.md"
BEGINNING = """\
# Limits

## Bad and odd inputs

What happens with an input that is not an ordinary brain scan. This page is made from `Testing/input_cases.py`
and `Testing/reported_faults.py` by `python Testing/tools/limits.py`, and the tests try every row of the former from
Python, from the shell and, where a node can hold it, in Slicer's scene.

A scan is three-dimensional, with one value per voxel. It has at least 8 voxels along each side, of .1 to 10 mm each,
and at most as many as 1024 x 1024 x 1024. A stripped brain in it has .25 to 2.7 litres.
"""
FAULTS = """
## What users of other tools reported

Each situation was rebuilt here, and the tests named show what becomes of it.

| report | situation | here | tests |
|---|---|---|---|
"""
END = """
## When something fails on the way

- Files and folders appear under their names only when they are complete. Every image and transform is read
  back and checked after it was written. What a killed process left half written (`.partial-...`) is removed by the next
  one that writes there.
- A folder shows one result: what an earlier one has left there and the new one lacks is removed, as its `quality.json`
  says which files were its own. Other files are not touched, nor are those whose places options name (`--warped-labels`
  and the like).
- A finished registration that its place does not take, because the disk is full say, is written to a folder of its own
  for temporary files, or in the home folder; the message says where, and the exit status is 1. In Slicer the result
  comes into the scene all the same.
- A cohort goes on with the next pair, and ends where its folder takes no more results; the same call later registers
  what has no result, or one of other inputs, settings or weights. Two runs in one folder at a time are refused.
- Ctrl-C and SIGTERM end a command in one line that says what is kept. Seconds are measured by a clock that setting the
  computer's time does not change.
- Where ITK's own libraries meet a full disk they print lines of their own before the sentence.

## Files that others made

Weights are read from safetensors alone, with a hash. Nothing is fetched, and no shell is given a string. Names, headers
and cards are shown as text in pages, tables and terminals. `python Testing/tools/fuzz_reading.py --mutations 20000`
reads files that were damaged at random: each of 20,000, of ten formats, gave an image or a sentence, within a gigabyte
and twenty seconds. A few wrong bytes of an HDF5 file can crash its reader, so such files are read in another process
first; each of 500 gave an image or a sentence too.

## The same input, the same bytes

The same inputs, settings, weights, device, precision and number of threads on one machine give the same bytes. What
else changes the last digits: another processor or GPU, the precision (`auto` depends on the processor), the number of
threads, other versions of torch, SimpleITK or numpy. `quality.json` says with which a result was made.
"""
SECTIONS = {
    "refused": "Refused in one sentence, before anything is computed; the words are of that sentence.",
    "warned": 'Accepted with a warning, which stands in the report; the verdict is then at most "look at it".',
    "handled": "Handled like any other input.",
    "not recognised": "Not recognised beforehand.",
}


def text() -> str:
    """Return the page."""
    parts = [BEGINNING]
    for outcome, heading in SECTIONS.items():
        rows = [case for case in CASES if case.outcome == outcome]
        parts.append(
            f"\n**{heading}**\n\n| input | {'words' if outcome in ('refused', 'warned') else 'note'} |\n|---|---|\n"
        )
        parts += [_row(case) for case in rows]
    parts.append(FAULTS)
    for fault in REPORTED_FAULTS:
        tests = ", ".join(f"`{test.partition('::')[2]}`" for test in fault.tests)
        parts.append(f"| {fault.where} | {fault.what} | {fault.here} | {tests} |\n")
    return "".join([*parts, END])


def _row(case: InputCase) -> str:
    return f"| {case.what} | {case.says} |\n"


if __name__ == "__main__":
    DOC.write_text(text(), encoding="utf-8")

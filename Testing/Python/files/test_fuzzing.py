"""Files that are damaged at random end in an image or in a sentence: no crash, no hang, no gigabytes."""

from __future__ import annotations

import os

import pytest
from tools import fuzz_reading


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows limits neither memory nor time of a process so")
def test_a_damaged_file_of_any_format_is_read_or_refused(tmp_path) -> None:
    """`Testing/tools/fuzz_reading.py` reads twenty thousand of them."""
    # HDF5 files are read in another process first, which takes half a second each.
    kinds = [kind for kind in fuzz_reading.seed_files(tmp_path) if kind != "h5"]
    outcomes, bad = fuzz_reading.fuzz(kinds, 40 * len(kinds))
    assert bad == []
    for kind in kinds:
        assert set(outcomes[kind]) == {"read", "refused"}
        assert outcomes[kind].total() == 40


@pytest.mark.slow
@pytest.mark.parametrize("number", [1615, 2084])
def test_an_hdf5_file_that_ends_the_process_which_reads_it_is_refused(tmp_path, number) -> None:
    seed = fuzz_reading.seed_files(tmp_path)["h5"]
    seed.write_bytes(fuzz_reading.mutated(seed.read_bytes(), "h5", number))
    assert fuzz_reading.read("h5", seed) == "refused"

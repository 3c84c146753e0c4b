"""Files that are damaged at random end in an image or in a sentence: no crash, no hang, no gigabytes."""

from __future__ import annotations

import os

import pytest
from tools import fuzz_reading


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows limits neither memory nor time of a process so")
def test_a_damaged_file_of_any_format_is_read_or_refused(tmp_path) -> None:
    """`Testing/tools/fuzz_reading.py` reads twenty thousand of them."""
    kinds = [kind for kind in fuzz_reading.seed_files(tmp_path) if kind not in fuzz_reading.TRANSFORMS]
    outcomes, bad = fuzz_reading.fuzz(kinds, 320)
    assert bad == []
    for kind in kinds:
        assert set(outcomes[kind]) == {"read", "refused"}
        assert outcomes[kind].total() == 40

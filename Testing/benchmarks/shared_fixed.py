"""Measure how much of a pair's processor time goes to the fixed image alone.

    OMP_NUM_THREADS=1 python Testing/benchmarks/shared_fixed.py FIXED MOVING --preset fast

That is what a cohort of many moving images and one fixed image could do once for all of them: reading and hashing the
file, finding the brain, its alignment to the template, sampling it on the canonical grid and the network's features of
it; and, if one process registered several pairs, its start.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"


def seconds_of_the_process() -> float:
    """Return the processor seconds of all threads since the process began."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Register a pair, write its result as a cohort does, and print the seconds of the fixed image's parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--preset", default="fast")
    options = parser.parse_args()
    from ULAERegistrationLib import placement, registration, scan_brain
    from ULAERegistrationLib.geometry import alignment
    from ULAERegistrationLib.geometry.brain_search import SearchedBrain
    from ULAERegistrationLib.memory import keep_freed_memory
    from ULAERegistrationLib.network.fast.network import FastULAENet
    from ULAERegistrationLib.process import made_from, pair
    from ULAERegistrationLib.process.cases import Case
    from ULAERegistrationLib.settings import RegistrationSettings

    keep_freed_memory()
    spent: dict[str, float] = defaultdict(float)

    def timed(owner: Any, name: str, part: str, of_fixed: Callable[..., bool]) -> None:
        really = getattr(owner, name)

        def measured(*arguments: Any, **keywords: Any) -> Any:
            began = time.thread_time()
            try:
                return really(*arguments, **keywords)
            finally:
                if of_fixed(*arguments):
                    spent[part] += time.thread_time() - began

        setattr(owner, name, measured)

    calls: dict[str, int] = defaultdict(int)

    def first(name: str) -> Callable[..., bool]:
        def is_first(*_: Any) -> bool:
            calls[name] += 1
            return calls[name] == 1

        return is_first

    def in_its_thread(*_: Any) -> bool:
        """Tell whether this is the fixed image's: `for_both` does the same to the moving one in another thread."""
        return threading.current_thread() is threading.main_thread()

    timed(made_from, "digest", "hashing", first("hash"))
    timed(pair, "read_volume", "reading", lambda path, role: role == "fixed")
    timed(scan_brain, "find_scan_brain", "brain", lambda scan, given, role, *_: role == "fixed")
    timed(alignment, "searched_template", "the template, prepared", first("template"))
    timed(SearchedBrain, "located_in", "alignment to the template", in_its_thread)
    timed(SearchedBrain, "finely_located_in", "alignment to the template", lambda *_: True)
    timed(placement, "sample_on_canonical", "canonical image", in_its_thread)
    timed(registration, "brain_likeness", "comparison with the template", in_its_thread)
    timed(registration, "load_network", "weights", first("weights"))
    timed(FastULAENet, "prepare", "network's features", lambda *_: True)
    loaded = seconds_of_the_process()
    with tempfile.TemporaryDirectory(prefix="ulae-") as folder:
        case = Case("pair", {"fixed": options.fixed, "moving": options.moving})
        row = pair.run_case(case, Path(folder) / "pair", RegistrationSettings(preset=options.preset), lambda *_: None)
    everything = seconds_of_the_process()
    print(json.dumps({name: round(value, 2) for name, value in spent.items()}, indent=1))
    print(f"{row['status']}: {row.get('verdict', row['message'])}")
    fixed = sum(spent.values())
    print(f"the fixed image: {fixed:.1f} of {everything:.1f} processor seconds, {100 * fixed / everything:.0f} %")
    print(f"with the start of the process ({loaded:.1f} s): {100 * (fixed + loaded) / everything:.0f} %")


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s")

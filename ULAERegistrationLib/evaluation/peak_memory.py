"""The most memory this process has held at once."""

from __future__ import annotations

import gc
import re
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> None:
    """Let the peak start again from what is held now; only Linux can, elsewhere it is that of the whole process."""
    # Uncollected garbage would raise the baseline and hide that much of the next peak.
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb() -> float | None:
    """Peak resident memory in 10^9 bytes; None where the system does not say (Windows)."""
    with suppress(OSError):
        # Not getrusage: its figure begins with that of the process which started this one.
        text = Path("/proc/self/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(found.group(1)) * 1024 / 1e9 if found else None
    with suppress(ModuleNotFoundError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return None

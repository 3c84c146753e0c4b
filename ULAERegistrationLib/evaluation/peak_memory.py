"""Peak resident memory of this process."""

from __future__ import annotations

import gc
import re
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> None:
    """Reset the peak to the memory held now; only Linux can, elsewhere the peak is that since the process began."""
    # Uncollected garbage would raise the baseline and hide that much of the next peak.
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb() -> float | None:
    """Return the peak resident memory in 10^9 bytes, or None where the system does not report it (Windows)."""
    with suppress(OSError):
        # Not getrusage, whose peak starts at that of the parent process.
        text = Path("/proc/self/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(found.group(1)) * 1024 / 1e9 if found else None
    with suppress(ModuleNotFoundError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return None

"""What PythonSlicer is: a launcher that starts the interpreter as its child, with the same pipes, and waits for it.

    python launcher.py COMMAND...

As Slicer's, it ends with status 1 when the child was ended by a signal, so that who started it never sees which.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    code = subprocess.call(sys.argv[1:])
    sys.exit(code if code >= 0 else 1)

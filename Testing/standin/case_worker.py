"""Stands in for the process that registers a case of a cohort, and ends as the case's name says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
name, target = job["case"]["name"], Path(job["target"])
target.mkdir(exist_ok=True)
attempt = 1 + len(list(target.glob("attempt*")))
(target / f"attempt{attempt}").write_text(f"{os.getpid()} {os.getppid()} {job['threads']}")
if name == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
if name == "orphan" and attempt == 1:
    os.kill(os.getppid(), signal.SIGKILL)  # the worker that started this process
    sys.exit(1)
if name == "fault":
    raise RuntimeError("in the case's own process")
if name.startswith("forever"):
    print(json.dumps({"fraction": 0.5, "message": "Half way"}), flush=True)
    time.sleep(600)
if name.startswith("half"):
    print(json.dumps({"fraction": 0.5, "message": "Half way"}), flush=True)
    time.sleep(0.5 + 0.3 * int(name[-1]))
if name.startswith("writing"):
    from ULAERegistrationLib.files.writing import whole_or_nothing

    (target / f"attempt{attempt}").unlink()
    with whole_or_nothing(target / "warped.nii.gz") as partial:
        partial.write_text("a part of it")
        time.sleep(600)
row = {"name": name, "status": "done", "verdict": "good", "message": f"attempt {attempt}"}
print(f"a word of {name}", file=sys.stderr)
if name == "told":
    row = {"name": name, "status": "failed", "message": "It cannot be registered."}
print(json.dumps({"outcome": row}), flush=True)

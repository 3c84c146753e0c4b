"""Register one case of a cohort in this process: python -m ULAERegistrationLib.process.case_worker JOB.json.

It reports to its parent as `worker` does, and at the end the case's row of the summary. A case that fails is such a row
too. The process ends when its parent does, and then removes the folder of the job.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..memory import keep_freed_memory
from ..threads import spare_the_cores
from .reporter import Reporter, end_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return the exit status.

    Args:
        arguments: the path of the job file; None takes it from the command line.
    """
    keep_freed_memory()
    spare_the_cores()
    job_file = Path((arguments or sys.argv[1:])[0]).resolve()
    report = Reporter()
    report.folder = job_file.parent
    end_with_parent(report.folder)
    text = job_file.read_text(encoding="utf-8")
    from .cases import CaseJob

    job = CaseJob.from_json(text)
    # torch reads its number when it is loaded, SimpleITK when its first filter runs.
    os.environ["OMP_NUM_THREADS"] = os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(job.threads)
    from .pair import run_case

    report.outcome(run_case(job.case, job.target, job.settings, report.progress))
    return 0


if __name__ == "__main__":
    sys.exit(main())

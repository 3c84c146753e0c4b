"""`ulae batch`: register every pair of a cohort."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RegistrationError
from .options import Commands, UsageError, add_command, add_json, add_settings, check_apart, progress_bar, settings_of
from .register import files_of_result

if TYPE_CHECKING:
    from ..process.cases import Case
    from ..process.summary import Row

NOTES = """\
Every pair gets a folder; summary.csv and summary.html say of each how it went. The same call goes on where it stopped:
a pair is registered again only where its inputs, the settings or the weights have changed. Files of the same name are
told apart by their folders.

"""


def add_batch(commands: Commands) -> None:
    """Add the command `ulae batch`."""
    command = add_command(
        commands,
        "batch",
        _batch,
        "Register every pair of a cohort; the same call goes on later.",
        "ulae batch cohort.csv -o results",
        "ulae batch cohort.csv -o results --workers 4",
        "ulae batch --fixed atlas.nii.gz --moving people/*.nii.gz -o results",
        "ulae batch --to-template people/*.nii.gz -o results --preset fast",
        "ulae batch --all-pairs ann.nii.gz bob.nii.gz cid.nii.gz -o results",
        "ulae batch --bids study -o study/derivatives/ulae",
        "ulae batch --bids study --session 01 -o study/derivatives/ulae",
        "ulae batch cohort.csv -o results --scheduler tcp://node1:8786",
    )
    command.set_defaults(ending=_ending)
    command.epilog = NOTES + (command.epilog or "")
    what = command.add_argument_group("which pairs (one of these)")
    what.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help="CSV with the columns name, fixed, moving, and any of fixed_mask, moving_mask, initial_transform, "
        "moving_labels",
    )
    what.add_argument("--fixed", metavar="FIXED", help="one fixed scan, for the scans of --moving")
    what.add_argument("--moving", metavar="SCAN", nargs="+", help="the scans to register to --fixed")
    what.add_argument("--to-template", metavar="SCAN", nargs="+", help="register these to the template that is shipped")
    what.add_argument("--all-pairs", metavar="SCAN", nargs="+", help="register each of these to every other one")
    what.add_argument("--bids", metavar="DIR", help="T1w scans of a BIDS folder, to the template; -o is a derivative")
    what.add_argument("--session", metavar="LABEL", help="of --bids: register to the subject's scan of this session")
    command.add_argument("-o", "--output", required=True, metavar="FOLDER", help="for the folders of all pairs")
    where = command.add_argument_group("where")
    where.add_argument("--workers", type=int, metavar="N", help="pairs at a time on this machine; default: 1")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler whose workers see the same files")
    add_settings(command)
    add_json(command)


def _ending(options: argparse.Namespace) -> str:
    """Say what there is of a cohort that was cancelled."""
    if options.scheduler:  # its workers are not ours to end
        return "cancelled; the scheduler's workers finish the pairs in work, and the same call goes on from there"
    if (options.workers or 1) > 1:
        return "cancelled, nothing was written of the pairs in work; those that were done are kept"
    return "cancelled, nothing was written of the pair in work; the pairs before it are kept"


def _batch(options: argparse.Namespace) -> None:
    workers = 1 if options.workers is None else options.workers
    if workers < 1:
        raise UsageError("--workers is a number of pairs at a time; give 1 or more.")
    if options.workers is not None and options.scheduler:
        raise UsageError("The workers of a scheduler are its own; leave out --workers or --scheduler.")
    settings, cases = settings_of(options), _cases(options)
    _check_places(options, cases)
    from ..process.batch import run_batch
    from ..process.bids import describe_derivative, name_results
    from ..process.summary import CASE_DONE

    is_silent = options.quiet or options.json
    on_terminal = sys.stderr.isatty()
    unnamed: list[str] = []  # why results have not got their BIDS names

    def began() -> None:
        if options.bids:
            describe_derivative(Path(options.bids), Path(options.output), options.session)

    def finished(row: Row) -> None:
        if options.bids:
            try:
                name_results(Path(options.bids), Path(options.output), row, options.session)
            except RegistrationError as error:
                unnamed.append(str(error))
        if is_silent:
            return
        line = f"{row['name']}: {row.get('verdict', row['status'])}. {row['message']}"
        if on_terminal:
            from tqdm import tqdm

            tqdm.write(line)  # above the bar
        else:
            print(line, flush=True)

    # Off a terminal the lines of the pairs are the progress.
    with progress_bar(is_silent or not on_terminal, f"{len(cases)} pairs") as progress:
        where = (workers, options.scheduler)
        rows = run_batch(cases, options.output, settings, progress, finished, *where, began=began)
    _report(options, cases, rows)
    failed = [row["name"] for row in rows if row["status"] != CASE_DONE]
    faults = []
    if failed:
        faults.append(
            f"{len(failed)} of {len(rows)} pairs failed ({', '.join(failed)}); see {options.output}/summary.csv."
        )
    if unnamed:
        faults.append(f"The BIDS names of {len(unnamed)} of {len(rows)} pairs are not up to date. {unnamed[0]}")
    if faults:
        raise RegistrationError(" ".join(faults))


def _check_places(options: argparse.Namespace, cases: list[Case]) -> None:
    """Refuse a batch that would overwrite what it reads.

    Brain masks are exempt, as a result has them again, where they may have been corrected.
    """
    from ..process.summary import SUMMARY_FILES

    folder = Path(options.output)
    results = [file for case in cases for file in files_of_result(folder / case.name)]
    scans = [file for case in cases for column, file in case.files.items() if not column.endswith("_mask")]
    check_apart([*(folder / name for name in SUMMARY_FILES), *results], [options.table, *scans])


def _report(options: argparse.Namespace, cases: list[Case], rows: list[Row]) -> None:
    """Print where the summary is and what the output folder holds beside it, or all rows as JSON."""
    from ..process.batch import results_of_others
    from ..process.bids import scans_gone
    from ..process.summary import CASE_DONE, MEASURES, of_other_versions

    others = results_of_others(cases, options.output)
    gone = scans_gone(Path(options.bids), Path(options.output)) if options.bids else []
    if options.json:
        pairs = [{name: float(value) if name in MEASURES else value for name, value in row.items()} for row in rows]
        failed = [row["name"] for row in rows if row["status"] != CASE_DONE]
        print(json.dumps({"pairs": pairs, "failed": failed, "other_results": others, "scans_gone": gone}, indent=2))
        return
    if options.quiet:
        return
    print(f"every pair on one page: {Path(options.output) / 'summary.html'}")
    if versions := of_other_versions(rows):
        print(versions)
    if others:
        print(f"{options.output} also holds results of pairs that are not among these: {', '.join(others)}.")
    if gone:
        print(
            f"{options.output} also holds files under BIDS names of scans that are no longer in {options.bids}: "
            f"{', '.join(gone)}; remove them from the folders anat if they are not to be used."
        )


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return the pairs that the options ask for."""
    forms = {
        "TABLE": options.table,
        "--fixed with --moving": options.fixed or options.moving,
        "--to-template": options.to_template,
        "--all-pairs": options.all_pairs,
        "--bids": options.bids,
    }
    if sum(map(bool, forms.values())) != 1:
        raise UsageError(f"Say which pairs to register by one of {', '.join(forms)}.")
    if bool(options.fixed) != bool(options.moving):
        raise UsageError("--fixed and --moving belong together; give both.")
    if options.session and not options.bids:
        raise UsageError("--session names a session of a BIDS folder; give that with --bids.")
    from ..process.bids import bids_cases
    from ..process.cases import all_pairs, one_fixed, read_cases, to_template

    if options.table:
        return read_cases(options.table)
    if options.fixed:
        return one_fixed(Path(options.fixed), [Path(scan) for scan in options.moving])
    if options.to_template:
        return to_template([Path(scan) for scan in options.to_template])
    if options.all_pairs:
        return all_pairs([Path(scan) for scan in options.all_pairs])
    return bids_cases(Path(options.bids), Path(options.output), options.session)

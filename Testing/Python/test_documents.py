"""What the README and the tutorial tell a reader to type is typed here, line after line, in one folder.

Words in capitals stand for the reader's own files. `ulae` and the Python blocks run in this process, and what takes
long is made short:

- The first registration is a real one, by weights for coarse voxels, of scans that need no alignment. The later ones
  get its result, and saving writes only what the later lines read. What a result holds is seen by `test_registration`.
- Workers of a cohort are real ones, two at most, but the process that each starts for a pair registers nothing.
- `ulae train` and `ulae evaluate` are run by their own tests on tiny data; here they are only asked for their help.
- `make` is asked what it would do. Lines that begin with `git`, `pip` or `source` are left out: they need a network, or
  another shell.
- Only parsed is what needs a cluster (a Dask scheduler and workers on other machines, SLURM), ANTs, or Slicer. What is
  typed into Slicer's Python console, docs/scripting-in-slicer.md too, is typed by Testing/Module.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import shlex
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import Registration, registration, simulation, write_transform
from ULAERegistrationLib.cli import main as command_line
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.transforms import step_transform
from ULAERegistrationLib.process import local_workers
from ULAERegistrationLib.process.summary import Row
from ULAERegistrationLib.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
STANDIN = (str(ROOT / "Testing/standin/case_worker.py"),)
FIXED, MOVING = "fixed.nii.gz", "moving.nii.gz"  # the template shifted by some mm, on voxels of 2 mm, and the template
SHIFT = (2, -3, 1)
FILES = {  # which the words in capitals stand for
    "FIXED": FIXED,
    "HEAD": FIXED,
    "HEAD1": FIXED,
    "ATLAS": FIXED,
    "MOVING": MOVING,
    "HEAD2": MOVING,
    "OTHER": MOVING,
    "SEG": "seg.nii.gz",
}
NOT_RUN = ("git", "pip", "source")
HELP_ONLY = ("train", "evaluate")
PARSED_ONLY = {"sh": ("antsApplyTransforms", "dask ", "--scheduler"), "python": ("slicer.", "logic.", "SLURM")}
DOCUMENTS = {  # and what their readers have typed before
    "README.md": (),
    "docs/tutorial.md": (),
    "docs/transforms.md": ("ulae register FIXED MOVING -o result",),
    "docs/cohorts.md": (),
    "docs/scripting-in-slicer.md": (),
}


def blocks(document: str) -> list[tuple[str, str]]:
    """The blocks of code of a document, each with its language."""
    return re.findall(r"```(sh|python)\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def parse(line: str) -> None:
    """Have a line taken apart by the program that it calls, where that is at hand."""
    from distributed.cli import dask_scheduler, dask_worker

    program, *words = shlex.split(line, comments=True)
    if program == "ulae":
        command_line._parser().parse_args(words)
    if program == "dask":
        commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
        commands[words[0]].make_context(words[0], words[1:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A reader's folder: a pair of scans, and what else the documents name."""
    folder = tmp_path_factory.mktemp("reader")
    shifted = sitk.BinShrink(sitk.CyclicShift(template(), SHIFT), [2, 2, 2])
    shift = sitk.TranslationTransform(3, SHIFT)
    images = {
        FIXED: shifted,
        MOVING: template(),
        "demo/fixed_subject.nii.gz": shifted,
        "demo/moving_template.nii.gz": template(),
        "atlas.nii.gz": shifted,
        "people/ann.nii.gz": shifted,
        **{f"{name}.nii.gz": shifted for name in "abc"},
        **{f"study/sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz": shifted for n in ("01", "02")},
        "demo/warped.nii.gz": template(),
        "seg.nii.gz": template_mask(),
        "moving_labels.nii.gz": template_mask(),
        "ants1Warp.nii.gz": sitk.TransformToDisplacementField(shift, size=[8, 8, 8], outputSpacing=[20.0] * 3),
    }
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / name))
    points = [{"id": "1", "label": "ac", "position": [0.0, 0.0, 0.0]}]
    markups = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]}
    (folder / "moving.mrk.json").write_text(json.dumps(markups))
    (folder / "cohort.csv").write_text(f"name,fixed,moving\nann,{FIXED},{MOVING}\n")
    return folder


@pytest.fixture(scope="module")
def short(coarse_model, folder) -> Iterator[None]:
    """Make short what takes long, as the top of this file says."""
    really, really_save, on_workers = registration.register, Registration.save, local_workers.run_on_this_machine

    @functools.cache
    def result() -> Registration:
        quick = {"preset": "fast", "alignment": "none", "brain": "skip", "model": str(coarse_model)}
        found = really(folder / FIXED, folder / MOVING, **quick)
        # The same map on coarse voxels, of which reading and inverting take no time.
        return dataclasses.replace(found, transform=step_transform(found.flow, found.alignment, every=8))

    def register(*arguments, **keywords) -> Registration:
        inspect.signature(really).bind(*arguments, **keywords)
        return result()

    def save(found: Registration, *arguments, **keywords) -> None:
        target = Path(inspect.signature(really_save).bind(found, *arguments, **keywords).arguments["folder"])
        target.mkdir(exist_ok=True)
        write_transform(found.transform, target / "transform.h5")
        sitk.WriteImage(found.warped, str(target / "warped.nii.gz"))
        (target / "quality.json").write_text(json.dumps(found.quality_record()))

    def simulate() -> simulation.SimulatedPair:
        fixed, shift = sitk.ReadImage(str(folder / FIXED)), sitk.TranslationTransform(3, [-voxels for voxels in SHIFT])
        return simulation.SimulatedPair(fixed, template(), shift, fixed > 0)

    def run_on_this_machine(cases, folder, settings, workers: int, done) -> Generator[Row]:
        return on_workers(cases, folder, settings, min(workers, 2), done, program=STANDIN)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "register", register)
        patch.setattr(Registration, "save", save)
        patch.setattr(simulation, "simulate", simulate)
        patch.setattr(local_workers, "run_on_this_machine", run_on_this_machine)
        yield


def run(line: str) -> int:
    """Run a line as a shell does, and return its exit status."""
    program, *words = shlex.split(line, comments=True)
    if program in NOT_RUN:
        return 0
    if program == "make":
        return subprocess.run(["make", "--dry-run", *words], cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    if program.removeprefix(".venv/bin/") != "ulae":
        return subprocess.run(line, shell=True).returncode
    found = [sorted(Path().glob(word)) if "*" in word else [FILES.get(word, word)] for word in words]
    command, *arguments = [str(word) for one in found for word in one]
    try:
        return main([command, *(["--help"] if command in HELP_ONLY else arguments)])
    except SystemExit as end:  # of --help
        return int(end.code or 0)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_tells_a_reader_to_type_works(document: str, short, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    for line in DOCUMENTS[document]:
        assert run(line) == 0, line
    for language, code in blocks(document):
        for part in filter(None, code.splitlines() if language == "sh" else [code]):
            is_parsed_only = any(words in part for words in PARSED_ONLY[language])
            if language == "python":
                program = compile(part, document, "exec")
                exec("" if is_parsed_only else program, {})
            elif is_parsed_only:
                parse(part)
            else:
                assert run(part) == 0, part


@pytest.mark.parametrize("file", sorted((ROOT / "docs/training").glob("*.json")), ids=lambda file: file.stem)
def test_the_settings_of_a_run_rest_on_no_default_that_may_change(file: Path) -> None:
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(read_recipe(file).to_json())


@pytest.mark.slow
def test_a_registration_ends_with_where_its_report_is(short, folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    assert main(["register", FIXED, MOVING, "-o", "told"]) == 0
    assert capsys.readouterr().out.endswith(f"pictures and report: {Path('told/report.html')}\n")

"""What `ulae evaluate` writes is whole and says what it is of, and what it cannot evaluate is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
import torch
from made_up_people import made_up, write

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.dataset.sources import VALIDATION_PEOPLE
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.evaluation.method_process import MethodProcess
from ULAERegistrationLib.evaluation.methods import prepare
from ULAERegistrationLib.evaluation.protocol import Evaluation, evaluate
from ULAERegistrationLib.evaluation.tables import _notes
from ULAERegistrationLib.network.weights import Card

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """The validation people made up small: two who are bent differently, and two whose images are the same.

    A fifth has no labels.
    """
    folder = tmp_path_factory.mktemp("brains")
    bends = zip(VALIDATION_PEOPLE, (0.0, 2.0, 0.0, 0.0), (1, 1, 100, 100), strict=True)
    for person, bend, first_label in bends:
        image, labels = made_up(bend, 7, first_label)
        write(image, folder / f"{person}_t1.nii.gz")
        write(labels, folder / f"{person}_seg.nii.gz")
    write(made_up(1.0, 7, 1)[0], folder / "nirep-na01_t1.nii.gz")
    return folder


def test_the_command_leaves_everything_as_json_a_table_and_a_picture(brains, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(brains), "-o", str(out), "--methods", "affine,network,smooth"]) == 0
    assert {path.name for path in out.iterdir()} == {"evaluation.json", "table.md", "boxplot.png"}
    text = (out / "table.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    content = json.loads((out / "evaluation.json").read_text())
    assert content["about"]["people"] == list(VALIDATION_PEOPLE)
    assert len(content["pairs"]) == 4 * 3
    rows = {(row["method"], row["fixed"]): row for row in content["pairs"]}
    na04, na16 = (sitk.ReadImage(str(brains / f"{name}_seg.nii.gz"), sitk.sitkUInt8) for name in VALIDATION_PEOPLE[:2])
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(na04, na16)
    expected = np.mean([overlap.GetDiceCoefficient(label) for label in range(1, 33)])
    affine, network, smooth = (rows[method, "nirep-na04"] for method in ("affine", "network", "smooth"))
    assert affine["measures"]["dice"] == pytest.approx(expected)
    assert len(affine["measures"]["label_dice"]) == len(affine["measures"]["label_hd95_mm"]) == 32
    assert smooth["measures"]["dice"] > expected + 0.1
    assert smooth["measures"]["folded_percent"] == 0
    assert 0.05 < affine["memory_gb"] < network["memory_gb"] < 8
    assert min(affine["seconds"], network["seconds"], smooth["seconds"]) >= 0
    # The two of OASIS have one image: the network's guess is left out, as `register` does.
    assert "left out" in rows["network", "oasis-1113"]["warnings"][0]
    assert rows["network", "oasis-1113"]["measures"]["dice"] == 1
    (summary,) = (s for s in content["summaries"] if (s["source"], s["method"]) == ("nirep", "smooth"))
    both = [rows["smooth", person]["measures"]["dice"] for person in VALIDATION_PEOPLE[:2]]
    assert summary["dice"] == {"mean": pytest.approx(np.mean(both)), "sd": pytest.approx(np.std(both, ddof=1))} | {
        "interval": None
    }
    assert f"| ours, smooth | {np.mean(both):.3f} ± {np.std(both, ddof=1):.3f} |" in text
    assert "No interval for NIREP and BrainCOLOR" in text
    assert "CC BY-NC" in text
    assert (out / "boxplot.png").read_bytes().startswith(b"\x89PNG")


def test_people_with_labels_of_their_own_numbering_are_scored_by_all_of_them(tmp_path, capsys):
    for person, bend in (("ann", 0.0), ("bob", 2.0)):
        image, labels = made_up(bend, 7, 1)
        write(image, tmp_path / f"{person}_t1.nii.gz")
        write(np.where(labels > 0, labels.astype(np.int16) + 2000, 0), tmp_path / f"{person}_seg.nii.gz")
    arguments = ["-o", str(tmp_path / "out"), "--methods", "affine"]
    assert main(["evaluate", str(tmp_path), *arguments]) == 0
    assert "**own**: 2 ordered pairs of ann, bob." in capsys.readouterr().out
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [set(map(int, row["measures"]["label_dice"])) for row in evaluation["pairs"]] == [set(range(2001, 2033))] * 2


def test_what_cannot_be_evaluated_is_refused_in_one_sentence(brains, tmp_path, capsys):
    def refused(*arguments: object, status: int = 1) -> str:
        assert main(["evaluate", *map(str, arguments)]) == status
        text = capsys.readouterr().err.strip()
        assert text.startswith("ulae: ")
        assert text.endswith(".")
        assert "\n" not in text
        assert not (tmp_path / "out").exists()
        return text

    output = ("-o", tmp_path / "out")
    odd = tmp_path / "odd"
    odd.mkdir()
    image, labels = made_up(0.0, 7, 1)
    for name, values in (
        ("nirep-one", image),
        ("nirep-two", image[:, :32]),
        ("nirep-three", image.astype(np.float32)),
        ("nirep-four", np.zeros_like(image)),
        ("nirep-five", image),
    ):
        write(values, odd / f"{name}_t1.nii.gz")
        write(labels[:, : values.shape[1]] * (name != "nirep-five"), odd / f"{name}_seg.nii.gz")
    write(image, odd / "nirep-six_t1.nii.gz")
    turned = sitk.DICOMOrient(sitk.ReadImage(str(odd / "nirep-one_t1.nii.gz")), "RAS")
    for name in ("nirep-seven", "nirep-eight"):
        sitk.WriteImage(turned, str(odd / f"{name}_t1.nii.gz"))
        sitk.WriteImage(sitk.Cast(turned > 0, sitk.sitkInt16), str(odd / f"{name}_seg.nii.gz"))
    (tmp_path / "file").write_text("")

    assert "does not exist" in refused(tmp_path / "none", *output)
    (tmp_path / "empty").mkdir()
    assert "Nobody in" in refused(tmp_path / "empty", *output)
    assert "nirep-none is not in" in refused(brains, *output, "--people", "nirep-none", "nirep-na04")
    assert "has no labels" in refused(odd, *output, "--people", "nirep-one", "nirep-six")
    assert "no label that is scored" in refused(odd, *output, "--people", "nirep-one", "nirep-five")
    assert "no partner" in refused(brains, *output, "--people", "nirep-na04", "oasis-1113", "oasis-1125")
    assert "one grid" in refused(odd, *output, "--people", "nirep-one", "nirep-two")
    assert "axes to left" in refused(odd, *output, "--people", "nirep-seven", "nirep-eight")
    assert "8 bits" in refused(odd, *output, "--people", "nirep-one", "nirep-three")
    assert "is empty" in refused(odd, *output, "--people", "nirep-one", "nirep-four")
    assert "'magic' is not known" in refused(brains, *output, "--methods", "affine,magic", status=2)
    assert "twice" in refused(brains, *output, "--methods", "affine,affine", status=2)
    assert "does not exist" in refused(brains, *output, "--model", tmp_path / "none.safetensors")
    assert "another folder" in refused(brains, "-o", tmp_path / "file" / "out")


@pytest.mark.parametrize(("method", "package"), [("greedy", "picsl-greedy"), ("syn", "antspyx"), ("syn-cc", "antspyx")])
def test_a_method_whose_package_is_not_installed_is_refused(brains, tmp_path, capsys, monkeypatch, method, package):
    monkeypatch.setattr("ULAERegistrationLib.evaluation.baselines.find_spec", lambda name: None)
    assert main(["evaluate", str(brains), "-o", str(tmp_path / "out"), "--methods", method]) == 1
    assert f"needs {package}" in capsys.readouterr().err


@pytest.mark.parametrize(("method", "module"), [("greedy", "picsl_greedy"), ("syn", "ants"), ("syn-cc", "ants")])
def test_another_tool_finds_a_shift(method, module):
    pytest.importorskip(module, reason=f"an optional extra; {method} is not run")
    image = torch.from_numpy(made_up(0.0, 7, 1)[0] / np.float32(255))[None, None]
    flow, _ = prepare(method)(fixed=image, moving=image.roll(3, 3))
    centre = flow[0, :, 8:24, 16:32, 8:24].flatten(1)
    assert centre.mean(1).numpy() == pytest.approx((0, 3, 0), abs=0.2)


def test_ctrl_c_ends_it_and_leaves_nothing(brains, tmp_path):
    command = [sys.executable, "-m", "ULAERegistrationLib", "evaluate", str(brains), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--methods", "smooth"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    heard = b""
    while b"people of" not in heard:  # said once, when the first pair begins
        heard += process.stderr.read1()
        assert process.poll() is None, heard
    (worker,) = (
        child for child in psutil.Process(process.pid).children() if "resource_tracker" not in str(child.cmdline())
    )
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == b""
    assert errors.decode().strip().splitlines()[-1] == "ulae: cancelled, nothing was written"
    assert b"Traceback" not in heard + errors
    assert not worker.is_running()
    assert not (tmp_path / "out").exists()


def test_a_method_that_fails_takes_nothing_from_the_others(brains, tmp_path, capsys, monkeypatch):
    really = MethodProcess.register

    def register(process, fixed, moving):
        if process._method == "network" and fixed.name.startswith("oasis"):
            raise RegistrationError("There is not enough memory.")
        return really(process, fixed, moving)

    monkeypatch.setattr(MethodProcess, "register", register)
    out = tmp_path / "out"
    assert main(["evaluate", str(brains), "-o", str(out), "--methods", "network,affine"]) == 1
    told = capsys.readouterr()
    said = "ours, network only ended after 2 of 4 pairs: There is not enough memory."
    assert told.err.strip().endswith(f"ulae: Not all was measured. {said}")
    assert said in told.out
    assert "| ours, network only (0 of 2 pairs) |" in told.out
    content = json.loads((out / "evaluation.json").read_text())
    assert content["failures"] == [said]
    assert [row["method"] for row in content["pairs"]] == ["network"] * 2 + ["affine"] * 4
    with pytest.raises(RegistrationError, match="not enough memory"):
        evaluate(brains, ["network"], VALIDATION_PEOPLE[2:])


def test_a_method_whose_process_dies_is_named(brains):
    files = [brains / f"{person}_t1.nii.gz" for person in VALIDATION_PEOPLE[:2]]
    with MethodProcess("affine") as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        time.sleep(0.1)
        with pytest.raises(RegistrationError, match=r"'affine' ended \(exit code -9\)"):
            worker.register(*files)


def test_no_temporary_file_of_a_method_outlives_its_process(brains, tmp_path, monkeypatch):
    """A method that dies at work, as it does where the evaluation is interrupted."""
    (tmp_path / "ants.py").write_text(
        "import os\n"
        "def from_numpy(values):\n"
        "    return values\n"
        "def registration(*images, outprefix, **options):\n"
        "    open(outprefix + 'warp', 'w').close()\n"
        "    os._exit(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    files = [brains / f"{person}_t1.nii.gz" for person in VALIDATION_PEOPLE[:2]]
    with MethodProcess("syn") as worker:
        with pytest.raises(RegistrationError, match=r"'syn' ended \(exit code 1\)"):
            worker.register(*files)
        assert list((tmp_path / "temporary").rglob("warp"))
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak start again")
def test_peak_memory_is_that_since_the_last_reset():
    """In a process of its own: where freed memory is kept, as other tests ask for, a second array takes none anew."""
    code = (
        "import numpy as np\n"
        "from ULAERegistrationLib.evaluation.peak_memory import peak_gb, reset_peak\n"
        "large = np.ones(40_000_000)\n"
        "del large\n"
        "reset_peak()\n"
        "low = peak_gb()\n"
        "large = np.ones(40_000_000)\n"
        "print(peak_gb() - low)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(0.32, abs=0.05)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([{"people": ["nirep-a", "oasis-x"]}, {}, {"people": ["oasis-x"]}], "The weights were trained on nirep-a: "),
        ([{"people": ["oasis-x"]}], None),
        ([{}], "weights made here may have been trained on them: nirep-a."),
        (None, "weights made here may have been trained on them: nirep-a."),
    ],
)
def test_people_whom_the_weights_were_trained_on_are_named(runs, said):
    """They are those of all runs of the card; where it lists nobody, all but the validation people may be."""
    card = Card("mine", 1, {} if runs is None else {"runs": runs})
    notes = _notes(Evaluation((), card, {"people": ["nirep-a", "nirep-na04"]}))
    assert [note for note in notes if "trained on" in note and said and said in note] == notes
    assert bool(notes) == bool(said)

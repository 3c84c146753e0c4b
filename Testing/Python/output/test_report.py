"""report.html: one file, the verdict first, every figure in it, and nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import dataclasses
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import NAME
from ULAERegistrationLib.geometry.likeness import Likeness
from ULAERegistrationLib.network.weights import Card
from ULAERegistrationLib.output.canonical_view import CanonicalView
from ULAERegistrationLib.output.report import Pictures, ReportContent, draw_pictures, write_report
from ULAERegistrationLib.provenance import provenance_of
from ULAERegistrationLib.quality_measures import measure
from ULAERegistrationLib.settings import RegistrationSettings

SIZE = (32, 40, 36)
LIKE = Likeness(correlation=0.85, overlap=0.96, handedness=0.25)  # as a whole T1 brain in its place has


class Page(HTMLParser):
    """Tags in order with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every tag is closed in order"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += data + "\n"


@pytest.fixture(scope="module")
def content() -> ReportContent:
    random = np.random.default_rng(0)
    brain = np.zeros(SIZE, bool)
    brain[6:-6, 6:-6, 6:-6] = True
    fixed = (random.random(SIZE) * brain).astype(np.float32)
    moving = np.roll(fixed, 1, axis=1)
    flow = np.zeros((3, *SIZE), np.float32)
    flow[1] = 1
    zero = np.zeros_like(flow)
    image = sitk.Image(64, 80, 50, sitk.sitkInt16)
    image.SetSpacing((0.9, 0.9, 1.4))
    card = Card("some-weights", 1, {"licence": "CC BY-NC 4.0", "sha256": "ab12"})
    return ReportContent(
        view=CanonicalView(fixed=fixed, moving=moving, brain=brain, steps=[flow, zero, zero], totals=[flow] * 3),
        quality=dataclasses.replace(
            measure(fixed, moving, flow, brain, likenesses=(LIKE, LIKE)), seconds={"alignment": 7.5, "network": 4.0}
        ),
        fixed=image,
        moving=image,
        card=card,
        provenance=provenance_of(
            {"fixed": named(image, "atlas <1>.nii.gz"), "moving": named(image, "bob.nii.gz"), "fixed_mask": image},
            sitk.TranslationTransform(3),
            RegistrationSettings(preset="smooth"),
            card,
            "cpu",
            "float32",
        ),
    )


def named(image: sitk.Image, name: str) -> sitk.Image:
    result = sitk.Image(image)
    result.SetMetaData(NAME, name)
    return result


@pytest.fixture(scope="module")
def pictures(content: ReportContent) -> Pictures:
    """Drawn once, as that takes most of the time."""
    return draw_pictures(content.view)


@pytest.fixture(scope="module")
def folder(content: ReportContent, pictures: Pictures, tmp_path_factory) -> Path:
    """A folder with the report, its pictures and one of a result's other files."""
    folder = tmp_path_factory.mktemp("result")
    (folder / "transform.h5").touch()
    write_report(content, folder / "report.html", folder / "figures", pictures=pictures)
    return folder


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_verdict_comes_first_then_pictures_then_numbers(text: str) -> None:
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    classes = [attributes.get("class") for _, attributes in page.tags]
    assert classes.index("verdict good") < tags.index("img") < tags.index("table")
    assert page.words.index("Good\n") < page.words.index("Measures")
    assert not page.open


def test_it_says_which_scans_it_is_of(text: str) -> None:
    words = Page(text).words
    assert words.count("Registration of bob.nii.gz to atlas <1>.nii.gz") == 2  # in the page's title and its heading
    for expected in ("atlas <1>.nii.gz, 64 × 80 × 50 voxels", "fixed mask", "initial transform"):
        assert expected in words
    assert "moving mask" not in words


def test_the_file_stands_alone_and_pictures_have_words_for_those_who_cannot_see_them(text: str) -> None:
    page = Page(text)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    for picture in pictures:
        kind, data = (picture["src"] or "").split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        assert len(picture["alt"] or "") > 20
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe")]
    assert not [a for tag, a in page.tags if "href" in a or (tag == "script" and "src" in a)]
    assert any("default-src 'none'" in (a.get("content") or "") for tag, a in page.tags if tag == "meta")
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_figures_settings_files_and_versions_are_in_it(content: ReportContent, text: str) -> None:
    words = Page(text).words
    quality = content.quality
    for expected in (
        f"{quality.ncc_before:.3f}",
        f"{quality.ncc_after:.3f}",
        "1.00 mm",
        "11.5 s",
        "smooth",
        "cpu in float32",
        "64 × 80 × 50 voxels of 0.9 × 0.9 × 1.4 mm",
        "transform.h5",
        "some-weights",
        "CC BY-NC 4.0",
        sitk.Version.VersionString(),
    ):
        assert expected in words
    assert "warped.nii.gz" not in words, "only files that are there are named"
    assert "inverse" not in words, "nothing is said of what was not measured"


def test_each_file_is_told_by_its_own_sha_256_where_that_is_known(content, pictures, tmp_path) -> None:
    inputs = {"fixed": {"name": "a.nii", "sha256": "f1"}, "moving": {"name": "b.nii", "sha256": "b0b"}}
    known = dataclasses.replace(content, provenance=dataclasses.replace(content.provenance, inputs=inputs))
    write_report(known, tmp_path / "report.html", pictures=pictures)
    lines = [line for line in Page((tmp_path / "report.html").read_text(encoding="utf-8")).words.split("\n") if line]
    rows = {"fixed, SHA-256": "f1", "moving, SHA-256": "b0b", "SHA-256 of the weights": "ab12"}
    assert {name: lines[lines.index(name) + 1] for name in rows} == rows
    unknown = dataclasses.replace(content, card=Card("some-weights", 1, {"licence": "CC BY-NC 4.0"}))
    write_report(unknown, tmp_path / "report.html", pictures=pictures)
    assert "SHA-256" not in Page((tmp_path / "report.html").read_text(encoding="utf-8")).words


def test_a_report_of_a_linear_alignment_alone_says_that_the_network_was_not_needed(content, pictures, tmp_path) -> None:
    provenance = dataclasses.replace(content.provenance, device="", precision="")
    write_report(dataclasses.replace(content, provenance=provenance), tmp_path / "report.html", pictures=pictures)
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert "not computed: the linear alignment is the result" in words


def test_parts_of_either_brain_without_counterpart_are_told(content, pictures, tmp_path) -> None:
    quality = dataclasses.replace(content.quality, missing_percent=1.25, beyond_percent=2.75)
    write_report(dataclasses.replace(content, quality=quality), tmp_path / "report.html", pictures=pictures)
    lines = [line for line in Page((tmp_path / "report.html").read_text(encoding="utf-8")).words.split("\n") if line]
    for name, value in (("Fixed", "1.25 %"), ("Moving", "2.75 %")):
        assert lines[lines.index(f"{name} brain without counterpart") + 1] == value


def test_the_pictures_lie_beside_the_report_as_files(folder: Path, text: str) -> None:
    page = Page(text)
    files = sorted((folder / "figures").iterdir())
    assert {path.stem for path in files} == {attributes["id"] for tag, attributes in page.tags if tag == "figure"}
    sources = [attributes["src"].split(",", 1)[1] for tag, attributes in page.tags if tag == "img"]
    assert {path.read_bytes() for path in files} == {base64.b64decode(source) for source in sources}
    assert "figures\n" in page.words


@pytest.mark.parametrize(
    ("changes", "tone", "word"),
    [
        ({"ncc_before": 0.9, "ncc_after": 0.5}, "bad", "Do not use it"),
        ({"warnings": ("Not <b>stripped</b> & dark.",)}, "look", "Not <b>stripped</b> & dark."),
        ({"inverse_mean_mm": 0.2, "inverse_p99_mm": 1.5, "inverse_max_mm": 3.25}, "good", "3.250 mm"),
    ],
)
def test_doubts_are_said_in_words(content, pictures, tmp_path: Path, changes: dict, tone: str, word: str) -> None:
    quality = dataclasses.replace(content.quality, **changes)
    write_report(dataclasses.replace(content, quality=quality), tmp_path / "report.html", pictures=pictures)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert ("div", {"class": f"verdict {tone}"}) in page.tags
    assert word in page.words
    assert "b" not in [tag for tag, _ in page.tags], "words from outside are words, not markup"


def test_cards_settings_and_warnings_are_shown_as_text(content, tmp_path: Path, monkeypatch) -> None:
    """Names that others chose run no code in the page."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # the pictures take time, and are the same

    def tags(words: str) -> list[tuple[str, list[str]]]:
        card = Card(words, 1, {"licence": words, "sha256": words, "training": words})
        provenance = dataclasses.replace(content.provenance, weights=words, machine=words, settings={words: words})
        quality = dataclasses.replace(content.quality, warnings=(words,))
        hostile = dataclasses.replace(content, card=card, provenance=provenance, quality=quality)
        write_report(hostile, tmp_path / "report.html")
        return [(tag, list(attributes)) for tag, attributes in Page((tmp_path / "report.html").read_text("utf-8")).tags]

    assert tags("\"'><img src=x onerror=alert(1)><script>alert(1)</script>") == tags("plain words")


def test_without_matplotlib_the_report_says_so(content, tmp_path: Path, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(content, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "matplotlib is not installed" in page.words
    assert "img" not in [tag for tag, _ in page.tags]
    assert ("section", "viewer") in [(tag, attributes.get("id")) for tag, attributes in page.tags]


def test_a_report_that_cannot_be_written_is_refused_and_leaves_nothing(content, pictures, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RegistrationError, match="could not be written"):
        write_report(content, tmp_path / "report.html", pictures=pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_each_measure_stands_in_its_own_row(content, pictures, tmp_path) -> None:
    numbers = {"mse_before": 0.11, "mse_after": 0.12, "jacobian_min": 0.13, "jacobian_max": 1.4}
    numbers |= {"displacement_mean_mm": 1.5, "displacement_max_mm": 1.6}
    numbers |= {"inverse_mean_mm": 0.17, "inverse_p99_mm": 0.18, "inverse_max_mm": 0.19}
    quality = dataclasses.replace(
        content.quality, **numbers, moving_likeness=dataclasses.replace(LIKE, correlation=0.75)
    )
    other = sitk.Image(10, 20, 30, sitk.sitkUInt8)
    write_report(
        dataclasses.replace(content, quality=quality, moving=other), tmp_path / "report.html", pictures=pictures
    )
    lines = [line for line in Page((tmp_path / "report.html").read_text(encoding="utf-8")).words.split("\n") if line]
    for name, values in {
        "Mean squared difference": ["0.11000", "0.12000"],
        "Jacobian determinant, smallest": ["0.13"],
        "Jacobian determinant, largest": ["1.40"],
        "Mean displacement": ["1.50 mm"],
        "Largest displacement": ["1.60 mm"],
        "Error of the inverse, mean": ["0.170 mm"],
        "Error of the inverse, 99 %": ["0.180 mm"],
        "Fixed brain and template: correlation, overlap, handedness": ["0.85, 0.96, 0.25"],
        "Moving brain and template: correlation, overlap, handedness": ["0.75, 0.96, 0.25"],
        "moving": ["bob.nii.gz, 10 × 20 × 30 voxels of 1 × 1 × 1 mm, 8-bit unsigned integer"],
    }.items():
        first = lines.index(name) + 1
        assert lines[first : first + len(values)] == values

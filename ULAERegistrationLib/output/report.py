"""Write report.html: the verdict, a viewer, the figures and the measures, in one file without external resources."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..files.writing import whole_or_nothing
from ..network.weights import Card
from ..provenance import Provenance
from ..quality import (
    DO_NOT_USE,
    FOLDING_NOTABLE,
    GOOD,
    INVERSE_ERROR_MM,
    LOOK,
    NCC_WEAK,
    OVERLAP_LOW,
    Quality,
    least_likeness,
)
from .canonical_view import CanonicalView
from .figures import ReportFigure, draw
from .page import page
from .viewer import viewer

VERDICTS = {
    GOOD: ("good", "Good"),
    LOOK: ("look", "Look at it before you use it"),
    DO_NOT_USE: ("bad", "Do not use it"),
}
FILES = {
    "transform.h5": "points of the fixed image to points of the moving image (LPS, mm); for SimpleITK, ANTs, Slicer",
    "warped.nii.gz": "the moving image on the fixed image's grid",
    "fixed_brain.nii.gz": "the brain of the fixed image, as given or found; correct it and register again with it",
    "moving_brain.nii.gz": "the same of the moving image",
    "warped_labels.nii.gz": "the label map of the moving image on the fixed image's grid",
    "steps": "what each of the three steps adds, and the moving image after each",
    "figures": "the figures above, as PNG files",
    "quality.json": "the measures, for programs",
}
PAPER = (
    "Shu Y, Wang H, Xiao B, Bi X, Li W. Medical Image Registration Based on Uncoupled Learning and Accumulative "
    "Enhancement. MICCAI 2021, LNCS 12904, 3-13."
)
NOTHING_FROM_ELSEWHERE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, eq=False)
class ReportContent:
    """The content of a report.

    Attributes:
        view: the data of the viewer and the figures.
        quality: the measures and the verdict.
        fixed, moving: the original images, whose geometry is listed.
        card: of the weights.
        provenance: device, precision, versions and weights of the computation.
    """

    view: CanonicalView
    quality: Quality
    fixed: sitk.Image
    moving: sitk.Image
    card: Card
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a report shows: its figures, none where matplotlib is missing, and the viewer as a part of an HTML page."""

    figures: list[ReportFigure]
    viewer: str


def draw_pictures(view: CanonicalView) -> Pictures:
    """Draw the figures and the viewer of a report, which takes most of the time of writing it."""
    try:
        figures = draw(view)
    except ModuleNotFoundError:  # Slicer does not come with matplotlib
        figures = []
    return Pictures(figures, viewer(view))


def write_report(
    content: ReportContent,
    path: str | os.PathLike[str],
    figures_folder: str | os.PathLike[str] | None = None,
    pictures: Pictures | None = None,
) -> None:
    """Write a registration's report; each file is written completely or not at all.

    Args:
        content: of the report.
        path: of the HTML file. The report lists the result's other files if they lie beside it.
        figures_folder: a folder for the figures as PNG files; None leaves them in the report alone.
        pictures: as `draw_pictures` draws them, if they are at hand.

    Raises:
        RegistrationError: where it cannot be written.
    """
    path = Path(path)
    pictures = pictures or draw_pictures(content.view)
    figures = pictures.figures
    for figure in figures if figures_folder is not None else ():
        with whole_or_nothing(Path(figures_folder or "") / f"{figure.name}.png") as partial:
            partial.write_bytes(figure.png)
    text = _page(content, pictures, path.parent)
    with whole_or_nothing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _page(content: ReportContent, pictures: Pictures, folder: Path) -> str:
    quality = content.quality
    title = _title(content.provenance.inputs)
    body = [
        f"<h1>{escape(title)}</h1>",
        _verdict(quality),
        pictures.viewer,
        "<h2>Figures</h2>",
        *map(_figure, pictures.figures),
        ""
        if pictures.figures
        else "<p>There are no figures, because the Python package matplotlib is not installed.</p>",
        "<h2>Measures</h2>",
        _table(_measures(quality), ("", "before", "after", "")),
        '<p class="note">"Before" is after the linear alignment alone. Local correlation is the mean squared '
        "correlation in windows of 9 mm, from 0 to 1. A voxel folds when any of its eight corners is turned "
        "inside out.</p>",
        "<h2>Time</h2>",
        _table([*_seconds(quality)]),
        "<h2>Images</h2>",
        _table([*_images(content)]),
        *_files(folder),
        "<h2>Settings</h2>",
        _table([(name.replace("_", " "), _value(value)) for name, value in content.provenance.settings.items()]),
        "<h2>Weights and versions</h2>",
        _table([*_weights(content.card), *_computed_with(content.provenance)]),
        f'<p class="note">Method: {escape(PAPER)} For research; not a medical device.</p>',
    ]
    head = f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_FROM_ELSEWHERE}">'
    return page(f"{title}: {quality.verdict}", body, head)


def _title(inputs: Mapping[str, Any]) -> str:
    fixed, moving = (inputs.get(role, {}).get("name") for role in ("fixed", "moving"))
    if fixed and moving:
        return f"Registration of {moving} to {fixed}"
    return "Registration of two brain MR scans with ULAE-net"


def _verdict(quality: Quality) -> str:
    tone, words = VERDICTS[quality.verdict]
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in quality.reasons)
    return f'<div class="verdict {tone}"><strong>{words}</strong>{reasons}</div>'


def _figure(figure: ReportFigure) -> str:
    data = b64encode(figure.png).decode("ascii")
    return (
        f'<figure id="{escape(figure.name)}"><h3>{escape(figure.title)}</h3>'
        f'<img alt="{escape(figure.alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _measures(quality: Quality) -> Iterable[tuple[str, str, str, str]]:
    """Yield the rows of the table of measures: name, value before, value after, and a remark."""
    q = quality
    yield (
        "Local correlation in the brain",
        f"{q.ncc_before:.3f}",
        f"{q.ncc_after:.3f}",
        f"good pairs reach {NCC_WEAK:.2f} and more",
    )
    yield "Local correlation, whole grid", f"{q.ncc_all_before:.3f}", f"{q.ncc_all_after:.3f}", ""
    yield "Mean squared difference", f"{q.mse_before:.5f}", f"{q.mse_after:.5f}", "intensities in [0, 1]"
    yield "Folded voxels", "", f"{q.folded_voxels:,}", f"{q.folded_percent:.3f} % of the grid"
    yield "Folded share of the brain", "", f"{q.folded_percent_brain:.3f} %", f"up to {FOLDING_NOTABLE:g} % is accepted"
    yield "Jacobian determinant, smallest", "", f"{q.jacobian_min:.2f}", "non-linear part; 1 keeps volume"
    yield "Jacobian determinant, largest", "", f"{q.jacobian_max:.2f}", ""
    yield "Spread of its logarithm in the brain", "", f"{q.log_jacobian_sd:.3f}", "standard deviation"
    yield "Mean displacement", "", f"{q.displacement_mean_mm:.2f} mm", "non-linear part, in the brain"
    yield "Largest displacement", "", f"{q.displacement_max_mm:.2f} mm", ""
    yield "Fixed brain without counterpart", "", f"{q.missing_percent:.2f} %", "in parts that the other does not show"
    yield "Moving brain without counterpart", "", f"{q.beyond_percent:.2f} %", "in parts that the other does not show"
    for role, found in (("Fixed", q.fixed_likeness), ("Moving", q.moving_likeness)):
        if found is not None:
            remark = (
                f"{least_likeness(found):.2f} and {OVERLAP_LOW:.2f} at least; the last is negative of a mirrored brain"
            )
            values = f"{found.correlation:.2f}, {found.overlap:.2f}, {found.handedness:.2f}"
            yield f"{role} brain and template: correlation, overlap, handedness", values, "", remark
    if q.inverse_mean_mm is not None:
        yield "Error of the inverse, mean", "", f"{q.inverse_mean_mm:.3f} mm", "there and back"
        remark = f"above {INVERSE_ERROR_MM:g} mm a point returns to another voxel; no part of the verdict"
        yield "Error of the inverse, 99 %", "", f"{q.inverse_p99_mm:.3f} mm", remark
        yield "Error of the inverse, largest", "", f"{q.inverse_max_mm:.3f} mm", ""


def _seconds(quality: Quality) -> Iterable[tuple[str, str]]:
    for stage, seconds in quality.seconds.items():
        yield stage, f"{seconds:.1f} s"
    yield "together", f"{sum(quality.seconds.values()):.1f} s"


def _images(content: ReportContent) -> Iterable[tuple[str, str]]:
    """Yield a row for each scan, each mask that was given and an initial transform."""
    inputs = content.provenance.inputs
    for role, image in (("fixed", content.fixed), ("moving", content.moving)):
        source = inputs.get(role, {})
        yield role, ", ".join(filter(None, (source.get("name"), _geometry(image))))
        if "sha256" in source:
            yield f"{role}, SHA-256", source["sha256"]
        if f"{role}_mask" in inputs:
            yield f"{role} mask", inputs[f"{role}_mask"].get("name", "given")
    if "initial_transform" in inputs:
        yield "initial transform", "given; its matrix is in quality.json"


def _geometry(image: sitk.Image) -> str:
    size = " × ".join(str(n) for n in image.GetSize())
    spacing = " × ".join(f"{s:.3g}" for s in image.GetSpacing())
    return f"{size} voxels of {spacing} mm, {image.GetPixelIDTypeAsString()}"


def _files(folder: Path) -> list[str]:
    found = [(name, what) for name, what in FILES.items() if (folder / name).exists()]
    return ["<h2>Files beside this report</h2>", _table(found)] if found else []


def _weights(card: Card) -> Iterable[tuple[str, str]]:
    yield "weights", card.name
    yield "licence of the weights", card.licence
    if "sha256" in card.details:
        yield "SHA-256 of the weights", card.details["sha256"]


def _computed_with(provenance: Provenance) -> Iterable[tuple[str, str]]:
    threads = f", {provenance.threads} threads" if provenance.device == "cpu" else ""
    where = f"{provenance.device} in {provenance.precision}{threads}"
    yield "network computed on", where if provenance.device else "not computed: the linear alignment is the result"
    yield from provenance.versions.items()
    yield "machine", provenance.machine


def _value(value: object) -> str:
    return "default" if value is None else str(value)


def _table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    """Format an HTML table; the first cell of each row is its heading."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = []
    for name, *cells in rows:
        wide = ['<td class="number">' if head and i < len(cells) - 1 else "<td>" for i in range(len(cells))]
        data = "".join(f"{tag}{escape(cell)}</td>" for tag, cell in zip(wide, cells, strict=True))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{data}</tr>')
    head_row = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="wide"><table>{head_row}<tbody>{"".join(lines)}</tbody></table></div>'

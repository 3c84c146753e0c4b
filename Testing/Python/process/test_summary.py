"""summary.html shows every pair, the worst first once it is sorted, and is used in a real browser."""

from __future__ import annotations

import numpy as np
import pytest

from ULAERegistrationLib.output.canonical_view import CanonicalView
from ULAERegistrationLib.output.jpeg import jpeg
from ULAERegistrationLib.output.thumbnail import thumbnail
from ULAERegistrationLib.process.summary import write_summary


def done(name: str, verdict: str, ncc: float, folded: float) -> dict[str, str]:
    measures = {"ncc_after": f"{ncc:.4f}", "folded_percent": f"{folded:.4f}"}
    return {"name": name, "status": "done", "verdict": verdict, "message": "", **measures}


ROWS = [
    done("ann", "good", 0.61, 0.2),
    {"name": "bob & co", "status": "failed", "message": "No <b>brain</b> was found."},
    done("cid", "look at it", 0.5, 10.5),
    done("dan", "do not use", 0.07, 9),
]


@pytest.fixture
def folder(tmp_path):
    """A cohort of which one pair failed, though an earlier result lies in its folder."""
    for row in ROWS:
        result = tmp_path / row["name"]
        result.mkdir()
        (result / "report.html").write_text("<title>a report</title>")
        (result / "thumbnail.jpg").write_bytes(jpeg(np.full((40, 84, 3), 128, np.uint8)))
    write_summary(ROWS, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_pairs_are_sorted_by_what_is_clicked_and_by_keyboard(browser, folder) -> None:
    browser.get((folder / "summary.html").as_uri())

    def names() -> str:
        return "".join(cell.text[0] for cell in browser.find_elements("css selector", "tbody th"))

    heads = {button.text: button for button in browser.find_elements("css selector", "thead button")}
    assert names() == "abcd"
    heads["verdict"].click()
    assert names() == "bdca"
    heads["verdict"].click()
    assert names() == "acdb"
    heads["folded, %"].click()
    assert names() == "adcb", "numbers are sorted as numbers, and what is missing comes last"
    heads["folded, %"].click()
    assert names() == "cdab"
    heads["pair"].send_keys("\ue007")  # the enter key
    assert names() == "abcd"
    sorted_by = browser.find_elements("css selector", "[aria-sort]")
    assert [head.get_attribute("aria-sort") for head in sorted_by] == ["ascending"]
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_pictures_and_reports_are_those_of_the_pairs_that_are_done(browser, folder) -> None:
    browser.get((folder / "summary.html").as_uri())
    images = browser.find_elements("css selector", "tbody img")
    assert [image.get_attribute("naturalWidth") for image in images] == ["84"] * 3
    assert all(image.get_attribute("alt") for image in images)
    links = {link.get_attribute("href") for link in browser.find_elements("css selector", "tbody a")}
    assert links == {(folder / name / "report.html").as_uri() for name in ("ann", "cid", "dan")}
    assert browser.execute_script("return getComputedStyle(document.body).maxWidth") == "1440px", "wider than a report"
    text = browser.find_element("tag name", "body").text
    assert "4 pairs: 1 failed, 1 do not use, 1 look at it, 1 good" in text
    assert "No <b>brain</b> was found." in text, "words from outside are words, not markup"


def test_the_thumbnail_is_grey_where_the_brains_agree(tmp_path) -> None:
    from io import BytesIO

    from PIL import Image

    size = (40, 48, 44)
    brain = np.zeros(size, bool)
    brain[8:-8, 8:-8, 8:-8] = True
    fixed = brain.astype(np.float32)
    moving = np.roll(fixed, 6, axis=0)
    flow = np.zeros((3, *size), np.float32)
    flow[0] = 6  # pulls the moving image back by what it was rolled
    zero = np.zeros_like(flow)
    view = CanonicalView(fixed=fixed, moving=moving, brain=brain, steps=[flow, zero, zero], totals=[flow] * 3)
    picture = np.asarray(Image.open(BytesIO(thumbnail(view))).convert("RGB")).astype(int)
    half = (picture.shape[1] - 4) // 2
    difference = np.abs(picture[..., 0] - picture[..., 1])
    assert difference[:, :half].max() > 150
    assert difference[:, half + 8 :].max() < 40

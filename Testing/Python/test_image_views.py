"""No array is a view of an image that nothing else holds: its memory is free as soon as the view has been made."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Their images are kept, by a cache or by the transform.
KEPT = {"template", "template_mask", "brain", "GetDisplacementField"}
FILES = sorted(
    path for folder in ("ULAERegistration", "ULAERegistrationLib", "Testing") for path in (ROOT / folder).rglob("*.py")
)


def name_of(called: ast.expr) -> str:
    return getattr(called, "attr", getattr(called, "id", ""))


def views_of_temporary_images(code: str) -> list[int]:
    """The lines in which a view is made of an image that has no name."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    views = [call for call in calls if name_of(call.func) == "GetArrayViewFromImage"]
    return [
        view.lineno
        for view in views
        if not isinstance(view.args[0], ast.Name | ast.Attribute)
        and not (isinstance(view.args[0], ast.Call) and name_of(view.args[0].func) in KEPT)
    ]


def test_a_view_of_a_temporary_image_is_found() -> None:
    lines = ["view(image)", "view(filled(image))", "view(image > 0)", "view(image[1:])", "view(template())"]
    code = "\n".join(line.replace("view", "sitk.GetArrayViewFromImage") for line in lines)
    assert views_of_temporary_images(code) == [2, 3, 4]


def test_an_image_lives_as_long_as_its_view() -> None:
    found = {path: views_of_temporary_images(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(found) > 300
    assert {path.relative_to(ROOT).as_posix(): lines for path, lines in found.items() if lines} == {}

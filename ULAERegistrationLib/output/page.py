"""What the report and the summary of a cohort have in common as pages of HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2128; --faint: #5b6570; --line: #d8dde3; --card: #f4f6f8;
  --good: #1a7f37; --look: #9a6700; --bad: #c4212c; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --text: #e6e8eb; --faint: #9aa3ad; --line: #333a43;
  --card: #1d2228; --good: #4ac26b; --look: #e3b341; --bad: #ff7b72; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.1rem; font-weight: 600; color: var(--faint); margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
.verdict { border-left: .4rem solid var(--tone); background: var(--card); padding: 1rem 1.25rem; border-radius: .3rem; }
.verdict strong { color: var(--tone); font-size: 1.6rem; line-height: 1.2; }
.verdict p { margin: .4rem 0 0; }
.good { --tone: var(--good); } .look { --tone: var(--look); } .bad { --tone: var(--bad); }
figure { margin: 0 0 1.75rem; break-inside: avoid; } figure h3 { margin: 0 0 .4rem; font-size: 1rem; }
img { display: block; width: 100%; height: auto; background: #000; border-radius: .4rem; }
figcaption, .note { color: var(--faint); font-size: .9rem; margin-top: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 500; width: 38%; } td { overflow-wrap: anywhere; }
thead th { color: var(--faint); font-size: .85rem; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
"""


def page(title: str, parts: Iterable[str], head: str = "", style: str = "") -> str:
    """Return a page of HTML in one file.

    Args:
        title: of the window, as text.
        parts: of the body, as HTML; empty ones are left out.
        head: more of the head, as HTML.
        style: more of the style, as CSS.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{head}\n<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )

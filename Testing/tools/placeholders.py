"""Finds what is not known yet about the extension's home and its authors, and fills it in everywhere at once.

    python Testing/tools/placeholders.py                              names the places; status 1 while there are any
    python Testing/tools/placeholders.py --owner OWNER --authors "Jane Doe (University of Somewhere)"

OWNER is whose GitHub repository it is: https://github.com/OWNER/SlicerULAERegistration. The Extensions Index reads its
addresses as literal text out of CMakeLists.txt, so they cannot be put together there from one variable.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWNER, AUTHORS = "REPOSITORY-OWNER", "AUTHOR-NAME (AUTHOR-ORGANISATION)"
FILES = (
    "CMakeLists.txt",
    "README.md",
    "pyproject.toml",
    "docs/tutorial.md",
    "ULAERegistration/ULAERegistration.py",
    "docs/extensions-index/ULAERegistration.json",
)


def places(root: Path) -> list[str]:
    """File, line and placeholder, for every one that is left."""
    found = []
    for name in FILES:
        for number, line in enumerate((root / name).read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{name}:{number}: {placeholder}" for placeholder in (OWNER, AUTHORS) if placeholder in line]
    return found


def fill_in(root: Path, owner: str, authors: str) -> None:
    for name in FILES:
        text = (root / name).read_text(encoding="utf-8")
        text = text.replace(OWNER, owner).replace(AUTHORS, authors)
        (root / name).write_text(text, encoding="utf-8", newline="\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--owner", default=OWNER)
    parser.add_argument("--authors", default=AUTHORS)
    chosen = parser.parse_args(arguments)
    fill_in(ROOT, chosen.owner, chosen.authors)
    left = places(ROOT)
    print(*left, sep="\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

"""Pieces of Markdown, and what all generated pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs/examples"
NOTE = "<!-- Written by tools/docs.py. Change what it is made from, then run it again. -->\n\n"

Pages = dict[str, str]
"""Texts by path below the repository."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table. Bars inside cells must be escaped already where they stand in code."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def anchor(heading: str) -> str:
    """The anchor that renderers give a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def code(text: str) -> str:
    """The registry's quotes as code: 'scopeward init' → `scopeward init`."""
    return re.sub(r"(?<![\w])'([^'\n]+)'(?!\w)", lambda found: f"`{found[1]}`", text).replace("|", "\\|")

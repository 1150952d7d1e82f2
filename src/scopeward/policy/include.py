"""Which files a policy includes: patterns of paths below the folder of the policy's own file.

``*`` and ``?`` stand for characters of one segment, and never for a dot at its beginning. There is no pattern for any number of segments: what is
included is then found without walking through a whole tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from scopeward.policy.tree import Items, Keys, Scalar, read_tree

_SEGMENT: Final = re.compile(r"[^/\\\[\]{}!#\x00-\x1f\x7f]+")


class PatternError(ValueError):
    """The text is no pattern; the message says why, in words that fit after "the path …"."""


class OutsideError(PatternError):
    """The pattern leads out of the folder."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. Make one with ``parse_pattern``."""

    segments: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.segments)

    @property
    def folder(self) -> tuple[str, ...]:
        """The folders at its beginning that hold no wildcard: whatever matches is below them."""
        folders = self.segments[:-1]
        wild = next((number for number, segment in enumerate(folders) if is_wild(segment)), len(folders))
        return folders[:wild]

    def matches(self, path: str) -> bool:
        """Whether the path (relative, with ``/``) is one of its."""
        parts = path.split("/")
        return len(parts) == len(self.segments) and all(segment_matches(s, part) for s, part in zip(self.segments, parts, strict=True))


def parse_pattern(text: str) -> Pattern:
    """Read a pattern. Errors: ``PatternError``, ``OutsideError``."""
    segments = tuple(text.removeprefix("./").split("/"))
    if text.startswith(("/", "~")) or "\\" in text or re.match("[A-Za-z]:", text):
        raise OutsideError("must be relative to the policy's own file, with '/' between its parts")
    if ".." in segments:
        raise OutsideError("must not hold '..': only what is below the policy's own folder can be included")
    if {"", "."} & set(segments):
        raise PatternError("must name files, without '//' and '.'")
    if "**" in segments:
        raise PatternError("must not hold '**': '*' stands for one folder or file, and several patterns may be given as a list")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise PatternError("holds a character that is not taken here; '*' and '?' are the only wildcards")
    return Pattern(segments)


def is_wild(segment: str) -> bool:
    """Whether it may stand for more than one name."""
    return "*" in segment or "?" in segment


def segment_matches(segment: str, name: str) -> bool:
    """Whether one segment of a pattern stands for the name."""
    return _compiled(segment).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _compiled(segment: str) -> re.Pattern[str]:
    wild = {"*": "[^/]*", "?": "[^/]"}
    hidden = "" if segment.startswith(".") or not is_wild(segment) else r"(?!\.)"
    return re.compile(hidden + "".join(wild.get(c, re.escape(c)) for c in segment), re.DOTALL)


@lru_cache(maxsize=4)
def patterns_of(text: bytes) -> tuple[Pattern, ...]:
    """What the text of a policy's own file includes, as far as it can be understood; what cannot be is for the loader to complain of."""
    if b"include" not in text:
        return ()
    try:
        root, _, understood = read_tree(text.decode("utf-8-sig"), "")
    except UnicodeDecodeError:
        return ()
    if not understood or not isinstance(root, Keys):
        return ()
    said = root.entries.get("include")
    items = said.items if isinstance(said, Items) else [said]
    patterns = []
    for item in items:
        if isinstance(item, Scalar):
            try:
                patterns.append(parse_pattern(item.text))
            except PatternError:
                continue
    return tuple(patterns)

"""Path templates: which paths a rule speaks about, and which of two templates is the more specific.

A template is a list of segments: a literal, ``{parameter}`` (exactly one segment that is not empty), or a final ``**`` (any number
of segments, none included). ``/`` alone has no segment. A trailing slash is an empty last segment, so that it makes another path.

Two templates are compared segment by segment from the left: literal before ``{parameter}`` before ``**``, and a template that ends
before one that goes on. Among the templates that match one path this order is total: where all segments are of equal kinds, the
literals are equal too, because both match; then the two differ in parameter names only and have the same ``shape``.
So ``/a/{x}`` beats ``/{y}/b`` for ``/a/b``: the leftmost literal wins, and no two shapes are ever tied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

SegmentKind = Literal["literal", "parameter", "rest"]

_RANK: dict[SegmentKind, int] = {"literal": 0, "parameter": 1, "rest": 2}

# RFC 3986 section 2.3 'unreserved', and of pchar those that no server known to us strips, folds or splits at.
# Left out: '%' (two spellings of one path), ';' (path parameters), '*', braces and brackets, quotes, '&'.
_LITERAL = re.compile(r"[A-Za-z0-9\-._~:@+,=$!]+")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

REST = "**"

ESCAPABLE: Final = frozenset(":@+,=$!")
"""What of a literal a caller may also send percent-encoded (RFC 3986 section 2.2: 'reserved'); servers take both for one."""


class TemplateError(ValueError):
    """The text is no template; the message says why, in words that fit after "the path …"."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. ``text`` is the literal itself, the parameter's name without braces, or ``**``."""

    kind: SegmentKind
    text: str

    def __str__(self) -> str:
        return f"{{{self.text}}}" if self.kind == "parameter" else self.text


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed path template. Make one with ``parse_template``, ``parse_at`` or ``join``."""

    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return "/" + "/".join(str(s) for s in self.segments)

    @property
    def shape(self) -> str:
        """The template without its parameters' names. Templates of one shape match exactly the same paths."""
        return "/" + "/".join("{}" if s.kind == "parameter" else s.text for s in self.segments)

    @property
    def specificity(self) -> tuple[int, ...]:
        """A sort key: of two templates that match one path, the smaller key is the more specific template."""
        return tuple(_RANK[s.kind] for s in self.segments)

    @property
    def open_ended(self) -> bool:
        """Whether it ends in ``**``."""
        return bool(self.segments) and self.segments[-1].kind == "rest"

    def matches(self, path: str, *, any_case: bool = False) -> bool:
        """Whether ``path`` (without its query, normalized: see ``split_path``) is one of the template's paths.

        ``any_case`` compares literals without regard to the case of ASCII letters.
        """
        parts = split_path(path)
        if parts is None:
            return False
        fixed = self.segments[:-1] if self.open_ended else self.segments
        if len(parts) < len(fixed) or (len(parts) > len(fixed) and not self.open_ended):
            return False
        return all(_fits(segment, part, any_case=any_case) for segment, part in zip(fixed, parts, strict=False))

    def meets(self, other: Template) -> bool:
        """Whether some path of ``other``, spelt with letters of another case, would be one of this less specific template's."""
        if self.specificity <= other.specificity:
            return False
        mine = self.segments[:-1] if self.open_ended else self.segments
        its = other.segments[:-1] if other.open_ended else other.segments
        if (len(its) > len(mine) and not self.open_ended) or (len(mine) > len(its) and not other.open_ended):
            return False
        return all(_alike(m, i) for m, i in zip(mine, its, strict=False))

    def contains(self, other: Template) -> bool:
        """Whether all paths of ``other`` are this template's, too."""
        mine = self.segments[:-1] if self.open_ended else self.segments
        its = other.segments[:-1] if other.open_ended else other.segments
        if len(its) < len(mine) or (not self.open_ended and (len(its) > len(mine) or other.open_ended)):
            return False
        return all(m == i or (m.kind == "parameter" and i.text != "") for m, i in zip(mine, its, strict=False))

    def has_spellings(self, *, any_case: bool) -> bool:
        """Whether a literal can be spelt in another way: with characters percent-encoded, or with ``any_case`` in letters of another case."""
        return any(s.kind == "literal" and (not ESCAPABLE.isdisjoint(s.text) or (any_case and s.text.swapcase() != s.text)) for s in self.segments)

    def with_slash(self) -> Template | None:
        """The template with a slash at its end; ``None`` where it has one, or takes everything below it."""
        if self.open_ended or (self.segments and self.segments[-1] == Segment("literal", "")):
            return None
        return Template((*self.segments, Segment("literal", "")))

    def without_slash(self) -> Template:
        """The template without a slash at its end."""
        return Template(self.segments[:-1]) if self.segments and self.segments[-1] == Segment("literal", "") else self


def _alike(one: Segment, other: Segment) -> bool:
    """Whether one text, but for the case of its letters, can be both segments. A parameter is never empty."""
    if "parameter" in (one.kind, other.kind):
        return "" not in (one.text, other.text)
    return one.text.lower() == other.text.lower()


def _fits(segment: Segment, part: str, *, any_case: bool) -> bool:
    if segment.kind == "parameter":
        return part != ""
    return part == segment.text or (any_case and part.isascii() and part.lower() == segment.text.lower())


def split_path(path: str) -> tuple[str, ...] | None:
    """The segments of a request path, or ``None`` where it does not begin with a slash.

    The path is taken as it is, compared byte by byte and without decoding: dot segments, doubled and encoded slashes are
    the edge's to normalize or refuse (``request-malformed``) before anything is decided.
    """
    if not path.startswith("/"):
        return None
    return () if path == "/" else tuple(path[1:].split("/"))


def parse_template(text: str) -> Template:
    """Read a template such as ``/``, ``/{id}/items`` or ``/files/**``. Errors: ``TemplateError``."""
    parts = split_path(text)
    if parts is None:
        raise TemplateError("must begin with '/'")
    last = len(parts) - 1
    segments = tuple(_parse_segment(part, is_last=i == last) for i, part in enumerate(parts))
    names = [s.text for s in segments if s.kind == "parameter"]
    if len(names) != len(set(names)):
        raise TemplateError("uses a parameter's name twice")
    return Template(segments)


def parse_at(text: str) -> Template:
    """Read where an API lives: literal segments only, no trailing slash, ``/`` alone allowed. Errors: ``TemplateError``."""
    template = parse_template(text)
    if any(s.kind != "literal" for s in template.segments):
        raise TemplateError("must be without '{parameters}' and '**'")
    if template.segments and template.segments[-1].text == "":
        raise TemplateError("must not end in '/'")
    return template


def join(at: Template, template: Template) -> Template:
    """The full template: ``/`` under ``/orders`` is ``/orders`` itself."""
    return Template((*at.segments, *template.segments))


def _parse_segment(part: str, *, is_last: bool) -> Segment:
    if part == REST:
        if not is_last:
            raise TemplateError("may hold '**' only as its last segment")
        return Segment("rest", REST)
    if parameter := _PARAMETER.fullmatch(part):
        return Segment("parameter", parameter.group(1))
    if part == "" and is_last:
        return Segment("literal", "")
    _refuse_unusable(part)
    return Segment("literal", part)


def _refuse_unusable(part: str) -> None:
    if part == "":
        raise TemplateError("must not hold '//'")
    if part in {".", ".."}:
        raise TemplateError("must not hold '.' or '..' as a segment")
    if "{" in part or "}" in part:
        raise TemplateError("holds braces that are not one whole segment, such as '{id}'")
    if "*" in part:
        raise TemplateError("may hold '*' only as a last segment '**'; one segment is '{name}'")
    if not _LITERAL.fullmatch(part):
        bad = next(c for c in part if not _LITERAL.fullmatch(c))
        raise TemplateError(f"holds {bad!a}; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !")

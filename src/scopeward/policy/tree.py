"""YAML text → a tree of text with places, read from the parser's events.

Nothing is expanded, constructed or guessed: a scalar stays the text that stands there, whatever YAML 1.1 would make of ``ON`` or
``012345``. Anchors, aliases, merge keys and tags are refused where they stand, so a cycle or a "bomb" is only a line to complain about.
The stack is a list with a limit, not Python's own, so that no depth of brackets can exhaust it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from scopeward.policy.diagnostic import Diagnostic, Span, diagnose, quoted

DEEPEST: Final = 32
"""Levels of nesting; the language needs six."""

MOST_PROBLEMS: Final = 1000
"""Problems after which the rest of a file is not read: far more than are shown."""

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
"""What YAML 1.2's core schema (section 10.3.2) reads as nothing, where it is written without quotes."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as written. ``plain`` is without quotes and on no block: only then may it mean a number, true or nothing.

    ``filled`` are the places of the environment's values that stand in it instead of ``${env.…}``.
    """

    span: Span
    text: str
    plain: bool
    filled: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """A YAML sequence."""

    span: Span
    items: list[Tree] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Keys:
    """A YAML mapping. Of a key that stands twice the first is kept; the other is a problem."""

    span: Span
    entries: dict[str, Tree] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)


Tree = Scalar | Items | Keys


class PlainText(str):
    """A scalar without quotes: text like any other, and the only kind that a key for numbers or true/false takes."""

    __slots__ = ()


def read_tree(text: str, name: str) -> tuple[Tree | None, tuple[Diagnostic, ...], bool]:
    """The tree (``None`` where the file has no content), the problems of its form, and whether going on makes sense."""
    reader = _Reader(name)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except _StopReading:
        return None, tuple(reader.problems), False
    except yaml.YAMLError as e:
        reader.problems.append(_syntax(e, name))
        return None, tuple(reader.problems), False
    return reader.root, tuple(reader.problems), not reader.hidden


def plain_value(tree: Tree) -> Any:
    """The tree as dicts, lists, strings and ``None``, for validation. Its depth is at most ``DEEPEST``."""
    match tree:
        case Keys():
            return {key: plain_value(value) for key, value in tree.entries.items()}
        case Items():
            return [plain_value(item) for item in tree.items]
        case Scalar(text=text, plain=True):
            return None if text in NULLS else PlainText(text)
        case Scalar(text=text):
            return text


class _StopReading(Exception):  # noqa: N818 - not an error of its own: the problem stands in the reader's list
    """The rest of the file cannot be understood any more."""


class _Reader:
    """Builds the tree from events. ``keys`` holds, for each open mapping, the key that waits for its value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Tree | None = None
        self.problems: list[Diagnostic] = []
        self.hidden = False
        self._open: list[Items | Keys] = []
        self._waiting: list[tuple[str, Span] | None] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Read one event. Errors: ``_StopReading``."""
        if len(self.problems) >= MOST_PROBLEMS:
            raise _StopReading
        mark = event.start_mark
        span = Span(self.name, mark.line + 1, mark.column + 1) if mark else Span(self.name, 1, 1)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop("a second document begins here; a policy is one document", span)
            case yaml.AliasEvent():
                self._refuse_hidden(f"the alias {quoted('*' + str(event.anchor))} stands for a value written elsewhere", span)
                self._place(Scalar(span, "*", plain=False), span)
            case yaml.ScalarEvent():
                self._refuse_decorated(event, span)
                self._scalar(Scalar(span, event.value, plain=bool(event.implicit[0]) and not event.style), span)
            case yaml.SequenceStartEvent():
                self._refuse_decorated(event, span)
                self._enter(Items(span), span)
            case yaml.MappingStartEvent():
                self._refuse_decorated(event, span)
                self._enter(Keys(span), span)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._waiting.pop()

    def _scalar(self, scalar: Scalar, span: Span) -> None:
        if self._expects_key() and scalar.plain:
            if scalar.text == "":
                self._stop("a key is missing before ':'", span)
            if scalar.text == "<<":
                self._refuse_hidden("the merge key '<<' brings in keys written elsewhere", span)
        self._place(scalar, span)

    def _enter(self, node: Items | Keys, span: Span) -> None:
        if self._expects_key():
            self._stop("a key must be a word, not a list or a mapping", span)
        if len(self._open) >= DEEPEST:
            self._stop(f"nested deeper than {DEEPEST} levels", span)
        self._place(node, span)
        self._open.append(node)
        self._waiting.append(None)

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], Keys) and self._waiting[-1] is None

    def _place(self, node: Tree, span: Span) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Items):
            parent.items.append(node)
            return
        waiting = self._waiting[-1]
        if waiting is None:
            self._waiting[-1] = (node.text if isinstance(node, Scalar) else "", span)
            return
        self._waiting[-1] = None
        key, place = waiting
        if key in parent.entries:
            first = parent.places[key]
            said = f"the key {quoted(key)} stands twice, first at line {first.line}, column {first.column}"
            self.problems.append(diagnose("policy-duplicate-key", said, place))
            return
        parent.entries[key] = node
        parent.places[key] = place

    def _refuse_decorated(self, event: Any, span: Span) -> None:
        if event.anchor is not None:
            self._refuse_hidden(f"the anchor {quoted('&' + str(event.anchor))} names a value for use elsewhere", span)
        elif event.tag is not None:
            self._refuse_hidden("a tag ('!') gives the value another type than it shows", span)

    def _refuse_hidden(self, message: str, span: Span) -> None:
        after_merge = bool(self._waiting) and (self._waiting[-1] or ("",))[0] == "<<"
        self.hidden = True
        if not after_merge:
            self.problems.append(diagnose("policy-alias", message, span))

    def _stop(self, message: str, span: Span) -> None:
        self.problems.append(diagnose("policy-syntax", message, span))
        raise _StopReading


def _syntax(error: yaml.YAMLError, name: str) -> Diagnostic:
    if not isinstance(error, yaml.MarkedYAMLError):
        return diagnose("policy-syntax", "not YAML", Span(name, 1, 1))
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    message = error.problem or "not YAML"
    if error.context:
        message = f"{message} {error.context}"
        if error.context_mark and error.context_mark.line + 1 != line:
            message += f" that begins at line {error.context_mark.line + 1}"
    return diagnose("policy-syntax", message, Span(name, line, column))


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the values of a document stand. A path is made of keys and positions; in a list, a name finds the item of that text."""

    root: Tree

    def of(self, path: tuple[str | int, ...]) -> Span:
        """Where a single value stands, or else the key that a list or mapping belongs to; the nearest place of a path that is not written."""
        place = self.root.span
        for key, node in self._walk(path):
            place = node.span if key is None or isinstance(node, Scalar) else key
        return place

    def key(self, path: tuple[str | int, ...]) -> Span:
        """Where the path's last key stands."""
        place = self.root.span
        for key, node in self._walk(path):
            place = key or node.span
        return place

    def exact(self, path: tuple[str | int, ...]) -> Tree | None:
        """The value at the path, if one is written there."""
        found = list(self._walk(path))
        return found[-1][1] if found and len(found) == len(path) else None

    def node(self, path: tuple[str | int, ...]) -> Tree:
        """The value at the path, or the nearest one around it."""
        node = self.root
        for _, node in self._walk(path):  # noqa: B007 - the last one is wanted
            pass
        return node

    def _walk(self, path: tuple[str | int, ...]) -> Iterator[tuple[Span | None, Tree]]:
        node = self.root
        for part in path:
            match node:
                case Keys() if part in node.entries:
                    key, node = node.places[str(part)], node.entries[str(part)]
                    yield key, node
                case Items() if (item := _item(node, part)) is not None:
                    node = item
                    yield None, node
                case _:
                    return


def _item(node: Items, part: str | int) -> Tree | None:
    if isinstance(part, int):
        return node.items[part] if part < len(node.items) else None
    return next((i for i in node.items if isinstance(i, Scalar) and i.text == part), None)

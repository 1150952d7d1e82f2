"""Environments: the one way in which a policy differs from place to place, and where it may.

``${env.x}`` stands for a value of the environment that is chosen, ``${env.name}`` for its name. It is taken only in addresses, audiences, client
ids and places of files (``PLACES``): who may do what is the same everywhere, and a reader of a rule sees all of it. A value is text and put in as
it is; what comes of it is read as if it had been written there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from scopeward.policy.diagnostic import Diagnostic, Span, diagnose, quoted, suggestion
from scopeward.policy.tree import Items, Keys, Scalar, Tree

PLACES: Final[tuple[tuple[str, ...], ...]] = (
    ("public_url",),
    ("issuers", "*", "issuer"),
    ("issuers", "*", "audience"),
    ("clients", "*", "id"),
    ("clients", "*", "id", "*"),
    ("apis", "*", "at"),
    ("apis", "*", "audience"),
    ("apis", "*", "upstream"),
    ("apis", "*", "upstream", "url"),
    ("apis", "*", "upstream", "client_certificate"),
    ("network", "ca_bundle"),
)
"""Where ``${env.x}`` is taken; ``*`` is any name."""

BY_ENVIRONMENT: Final[tuple[tuple[str, ...], ...]] = (("clients", "*", "id"),)
"""Where a mapping from environments to values may stand instead of one value."""

NAME: Final = "name"
"""``${env.name}``."""

KEY: Final = "[A-Za-z_][A-Za-z0-9_-]*"
"""How a value is called, as a pattern."""

_REFERENCE: Final = re.compile(rf"\$\{{env\.({KEY})\}}")
_LOOKS_LIKE_ONE: Final = re.compile(r"\$\{\s*env\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment. ``values`` are by name, with their places. ``confirm`` asks before a policy is applied there."""

    name: str
    values: Mapping[str, Scalar]
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """A node of ``PLACES`` as a tree. ``taken`` says that ``${env.x}`` is taken here."""

    taken: bool
    below: Mapping[str, _Place]

    def at(self, key: str) -> _Place | None:
        return self.below.get(key) or self.below.get("*")


def _tree_of(places: Iterable[tuple[str, ...]]) -> _Place:
    known = list(places)
    below = {key: _tree_of(p[1:] for p in known if p and p[0] == key) for key in {p[0] for p in known if p}}
    return _Place(() in known, below)


_TREE: Final = _tree_of(PLACES)


# ── what is wrong, whichever is chosen ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Text:
    """A text of the policy that holds ``${``, and whether its place takes that."""

    text: str
    span: Span
    taken: bool


def check_references(root: Keys, trees: Iterable[Keys], environments: tuple[Environment, ...]) -> list[Diagnostic]:
    """All that is wrong with ``${env.x}`` in the trees, of which ``root`` is the one with ``environments``; else the values that nobody uses."""
    used: dict[str, Span] = {}
    found: list[Diagnostic] = []
    for tree in trees:
        for text in _texts(tree, _TREE, tree is root):
            found += _wrong(text, environments)
            if text.taken:
                used |= {name: text.span for name in _REFERENCE.findall(text.text) if name not in used}
        found += _wrong_choices(tree, environments)
    found += [*_missing(root, used, environments), *_nested(environments)]
    return found or list(_unused(used, environments))


def _texts(node: Tree, place: _Place | None, at_root: bool = False) -> Iterator[_Text]:
    """Keys too: a name that differs from place to place is another name."""
    match node:
        case Scalar(text=text, span=span):
            if "${" in text:
                yield _Text(text, span, place is not None and place.taken)
        case Items(items=items):
            for item in items:
                yield from _texts(item, None)
        case Keys(entries=entries, places=places):
            for key, value in entries.items():
                if at_root and key == "environments":
                    continue
                if "${" in key:
                    yield _Text(key, places[key], taken=False)
                yield from _texts(value, place.at(key) if place is not None else None)


def _wrong(text: _Text, environments: tuple[Environment, ...]) -> Iterator[Diagnostic]:
    if not text.taken:
        if _LOOKS_LIKE_ONE.search(text.text):
            yield diagnose("env-not-here", "'${env.…}' is not taken here", text.span)
        return
    if "${" in _REFERENCE.sub("", text.text):
        yield diagnose("env-malformed", "'${' begins something else than '${env.NAME}'", text.span)
    known = {name for environment in environments for name in environment.values} | ({NAME} if environments else set())
    for name in dict.fromkeys(_REFERENCE.findall(text.text)):
        if not environments:
            yield diagnose("env-value-unknown", f"'${{env.{name}}}' stands for nothing: the policy has no 'environments'", text.span)
        elif name not in known:
            meant = suggestion(name, sorted(known))
            help = f"Did you mean '${{env.{meant}}}'?" if meant else None
            yield diagnose("env-value-unknown", f"no environment gives the value {quoted(name)}", text.span, help=help)


def _missing(root: Keys, used: Mapping[str, Span], environments: tuple[Environment, ...]) -> Iterator[Diagnostic]:
    """A value that is used and that some environments give and others do not."""
    entries = root.entries.get("environments")
    for name, span in used.items():
        without = [environment for environment in environments if name != NAME and name not in environment.values]
        if len(without) == len(environments):
            continue
        for environment in without:
            place = entries.places[environment.name] if isinstance(entries, Keys) else root.span
            message = f"the environment {quoted(environment.name)} gives no value {quoted(name)}, which {span.file}:{span.line} uses"
            yield diagnose("env-value-missing", message, place)


def _unused(used: Mapping[str, Span], environments: tuple[Environment, ...]) -> Iterator[Diagnostic]:
    said = set(used)
    for environment in environments:
        for name, value in environment.values.items():
            if name not in said:
                said.add(name)
                yield diagnose("env-value-unused", f"nothing uses the value {quoted(name)}", value.span, severity="warning")


def _nested(environments: tuple[Environment, ...]) -> Iterator[Diagnostic]:
    for environment in environments:
        for value in environment.values.values():
            if "${" in value.text:
                yield diagnose("env-malformed", "the value of an environment stands for itself: it holds no '${'", value.span)


def _wrong_choices(tree: Keys, environments: tuple[Environment, ...]) -> Iterator[Diagnostic]:
    """Mappings by environment that name others than there are, or not all of them. Without environments they are a wrong type."""
    names = [environment.name for environment in environments]
    for choice, place in _choices(tree, BY_ENVIRONMENT) if names else ():
        for key, span in choice.places.items():
            if key not in names:
                meant = suggestion(key, names)
                help = f"Did you mean '{meant}'?" if meant else f"The environments are {', '.join(names)}."
                yield diagnose("env-unknown", f"there is no environment {quoted(key)}", span, help=help)
        for name in names:
            if name not in choice.entries:
                yield diagnose("env-value-missing", f"there is no value for the environment {quoted(name)}", place)


def _choices(tree: Tree, patterns: Iterable[tuple[str, ...]]) -> Iterator[tuple[Keys, Span]]:
    for pattern in patterns:
        yield from _at(tree, pattern, tree.span)


def _at(node: Tree, pattern: tuple[str, ...], place: Span) -> Iterator[tuple[Keys, Span]]:
    if not isinstance(node, Keys):
        return
    if not pattern:
        yield node, place
        return
    for key in node.entries if pattern[0] == "*" else [pattern[0]]:
        if key in node.entries:
            yield from _at(node.entries[key], pattern[1:], node.places[key])


# ── choosing one ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_environment(tree: Keys, environment: Environment | None) -> Keys:
    """The tree with the environment's values in it. It must have passed ``check_references``. What does not change is shared with it."""
    if environment is None:
        return tree
    chosen = tree
    for pattern in BY_ENVIRONMENT:
        chosen = _chosen(chosen, pattern, environment)
    filled: Any = _filled(chosen, _TREE, environment)
    return filled if isinstance(filled, Keys) else chosen


def _chosen(node: Any, pattern: tuple[str, ...], environment: Environment) -> Any:
    if not isinstance(node, Keys):
        return node
    if not pattern:
        return node.entries.get(environment.name, node)
    return _with(node, {key: _chosen(node.entries[key], pattern[1:], environment) for key in _keys(node, pattern[0])})


def _keys(node: Keys, wanted: str) -> Iterable[str]:
    return node.entries if wanted == "*" else [wanted] if wanted in node.entries else []


def _filled(node: Tree, place: _Place, environment: Environment) -> Tree:
    match node:
        case Scalar() if place.taken and "${" in node.text:
            return _fill(node, environment)
        case Keys() if place.below:
            below = {key: (value, inner) for key, value in node.entries.items() if (inner := place.at(key)) is not None}
            return _with(node, {key: _filled(value, inner, environment) for key, (value, inner) in below.items()})
        case _:
            return node


def _fill(scalar: Scalar, environment: Environment) -> Scalar:
    """Quoted or not, what comes of it is text."""
    names = dict.fromkeys(_REFERENCE.findall(scalar.text))
    values = {name: environment.name if name == NAME else environment.values[name].text for name in names}
    places = tuple(environment.values[name].span for name in names if name != NAME)
    return replace(scalar, text=_REFERENCE.sub(lambda found: values[found[1]], scalar.text), plain=False, filled=places)


def _with(node: Keys, changed: Mapping[str, Tree]) -> Keys:
    if all(node.entries[key] is value for key, value in changed.items()):
        return node
    return Keys(node.span, {**node.entries, **changed}, node.places)

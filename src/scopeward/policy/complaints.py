"""pydantic's errors → diagnostics: one a mistake, in plain words, with the place in the file, and without the values."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scopeward.errors import REFERENCES
from scopeward.policy.diagnostic import Diagnostic, diagnose, quoted, suggestion
from scopeward.policy.document import PolicyDocument
from scopeward.policy.scalars import contrast
from scopeward.policy.tree import Items, Keys, Scalar, Spans, Tree, plain_value

Path = tuple[str | int, ...]

MOST_CONSIDERED = 1000
"""Errors looked at: far more than are shown, and few enough that a file of nothing but errors is refused in a short time."""

_KEY = "[key]"
"""pydantic's last word of a place where a mapping's key is at fault, not its value."""


def complaints(error: ValidationError, spans: Spans, form: type[BaseModel] = PolicyDocument) -> list[Diagnostic]:
    """All of an error's complaints. ``form`` is the model that was not met. A key missing only because it stands there misspelt is said once, at the misspelt one."""
    found = error.errors(include_url=False, include_input=False)[:MOST_CONSIDERED]
    meant = {_meant_instead(e["loc"], found, form) for e in found if e["type"] == "extra_forbidden"}
    return [_complaint(e, spans, found, form) for e in found if not (e["type"] == "missing" and e["loc"] in meant)]


def _complaint(error: ErrorDetails, spans: Spans, found: list[ErrorDetails], form: type[BaseModel]) -> Diagnostic:
    path, context = error["loc"], error.get("ctx", {})
    at_key = path[-1:] == (_KEY,)
    path = path[:-1] if at_key else path
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(path, spans, found, form)
        case "missing":
            return diagnose("policy-missing-key", f"the key {quoted(str(path[-1]))} is missing", spans.of(path[:-1]))
        case "model_type" | "dict_type":
            said = f"a mapping of keys is needed here, {_instead(spans.node(path))}"
            return diagnose("policy-type", said, spans.of(path))
        case "literal_error":
            return _wrong_choice(path, context, spans)
        case reference if reference in REFERENCES:
            place = spans.key(path) if at_key else spans.of(path)
            return diagnose(reference, str(context["message"]), place)
        case _:
            return diagnose("policy-value", "the value is not accepted here", spans.of(path))


def _unknown_key(path: Path, spans: Spans, found: list[ErrorDetails], form: type[BaseModel]) -> Diagnostic:
    key = str(path[-1])
    if len(path) == 1 and form is not PolicyDocument and key in _keys_at((), PolicyDocument):
        said = f"the key {quoted(key)} belongs into the policy's own file, not into one that it includes"
        return diagnose("include-nested" if key == "include" else "policy-unknown-key", said, spans.key(path), help=f"Move {quoted(key)} there.")
    meant = _meant_instead(path, found, form)
    known = ", ".join(sorted(_keys_at(path[:-1], form)))
    help = f"Did you mean '{meant[-1]}'?" if meant else f"Keys known here: {known}."
    return diagnose("policy-unknown-key", f"unknown key {quoted(key)}", spans.key(path), help=help)


def _meant_instead(path: Path, found: list[ErrorDetails], form: type[BaseModel]) -> Path:
    """The place that an unknown key was probably meant for, a missing one before any other; empty where none is near."""
    around, key = path[:-1], str(path[-1])
    missing = [str(e["loc"][-1]) for e in found if e["type"] == "missing" and e["loc"][:-1] == around]
    meant = suggestion(key, missing) or suggestion(key, _keys_at(around, form))
    return (*around, meant) if meant else ()


def _wrong_choice(path: Path, context: Mapping[str, Any], spans: Spans) -> Diagnostic:
    node, expected = spans.node(path), str(context["expected"])
    if not isinstance(node, Scalar) or plain_value(node) is None:
        return diagnose("policy-type", f"{expected} is needed here, {_instead(node)}", spans.of(path))
    meant = suggestion(node.text, expected.replace("'", "").replace(" or ", ", ").split(", "))
    help = f"Did you mean '{meant}'?" if meant else None
    return diagnose("policy-value", f"{expected} is needed here", spans.of(path), help=help)


def _instead(node: Tree) -> str:
    match node:
        case Keys():
            return contrast({})
        case Items():
            return contrast([])
        case Scalar():
            return contrast(plain_value(node))


def _keys_at(path: Path, form: type[BaseModel]) -> list[str]:
    """The keys that the entry at this place knows."""
    here: Any = form
    for part in path:
        here = _inside(here, str(part))
    if not _is_entry(here):
        return []
    return [field.alias or name for name, field in here.model_fields.items()]


def _inside(here: Any, part: str) -> Any:
    if _is_entry(here):
        fields = {field.alias or name: field.annotation for name, field in here.model_fields.items()}
        return _bare(fields.get(part))
    return _bare(get_args(here)[-1]) if get_args(here) else None


def _bare(annotation: Any) -> Any:
    """The type without ``Annotated`` and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _bare(next(a for a in get_args(annotation) if a is not type(None)))
    return annotation


def _is_entry(here: Any) -> bool:
    return isinstance(here, type) and issubclass(here, BaseModel)

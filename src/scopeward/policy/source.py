"""The bytes of a policy file → the policy with its places, or what is wrong with it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from scopeward.policy.complaints import complaints
from scopeward.policy.diagnostic import Diagnostic, Span, diagnose, limited
from scopeward.policy.document import PolicyDocument
from scopeward.policy.freeze import freeze
from scopeward.policy.model import Policy
from scopeward.policy.tree import Keys, Scalar, Spans, Tree, plain_value, read_tree

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a policy file."""

# What YAML 1.2 section 5.1 does not take; then what a reader does not see as the parser does: a carriage return alone, NEL, LS and PS
# end a line (and a comment) for YAML 1.1 parsers only, and bidirectional controls show text in another order (CVE-2021-42574).
_UNSEEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)|[\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy whose form is right, and where each part of it stands. Whether it makes sense is for ``analysis.checks``."""

    policy: Policy
    spans: Spans


def load(text: bytes, name: str) -> Loaded | tuple[Diagnostic, ...]:
    """Read a policy. ``name`` is the file's name as diagnostics show it.

    Bad content raises nothing: all complaints come back, in order of their places and at most ``MOST_SHOWN``. Problems of form that
    leave the content unknown (syntax, an alias) hide those of content.
    """
    decoded = _decode(text, name)
    if isinstance(decoded, Diagnostic):
        return (decoded,)
    root, problems, understood = read_tree(decoded, name)
    if not understood:
        return limited(problems)
    if root is None or (isinstance(root, Scalar) and plain_value(root) is None):
        return limited([*problems, diagnose("policy-empty", "the policy has no content", Span(name, 1, 1))])
    policy, wrong = _validate(root)
    found = (*problems, *wrong)
    if policy is None or found:
        return limited(found)
    return Loaded(policy, Spans(root))


def _validate(root: Tree) -> tuple[Policy | None, list[Diagnostic]]:
    if not isinstance(root, Keys):
        return None, [diagnose("policy-type", "a policy is a mapping of keys, beginning with 'version: 1'", root.span)]
    try:
        document = PolicyDocument.model_validate(plain_value(root))
    except ValidationError as e:
        return None, complaints(e, Spans(root))
    return freeze(document), []


def _decode(text: bytes, name: str) -> str | Diagnostic:
    if len(text) > LARGEST:
        return diagnose("policy-too-large", f"the policy has more than {LARGEST} bytes", Span(name, 1, 1))
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return diagnose("policy-encoding", "the file is UTF-16, not UTF-8", Span(name, 1, 1))
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as e:
        return diagnose("policy-encoding", f"the byte 0x{text[e.start]:02x} is not UTF-8", _place(text[: e.start].decode("utf-8"), name))
    if unseen := _UNSEEN.search(decoded):
        said = f"the character U+{ord(unseen.group()):04X} is not taken: a reader does not see what it does"
        return diagnose(
            "policy-encoding", said, _place(decoded[: unseen.start()], name), help="Remove the character, or write it as an escape in double quotes."
        )
    return decoded


def _place(before: str, name: str) -> Span:
    return Span(name, before.count("\n") + 1, len(before) - before.rfind("\n"))

"""The bytes of a policy's files → the policy with its places, or what is wrong with it.

In two steps: ``read`` understands what does not depend on the environment (``Written``), ``Written.choose`` makes the policy of one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pydantic import ValidationError

from scopeward.policy.bundle import LARGEST, LARGEST_IN_ALL, MOST_FILES, Bundle
from scopeward.policy.collecting import without_collecting
from scopeward.policy.complaints import complaints
from scopeward.policy.diagnostic import Diagnostic, Span, diagnose, limited, quoted, suggestion
from scopeward.policy.document import SECTIONS, Entry, EnvironmentEntry, HeadDocument, IncludedDocument, PolicyDocument, TeamEntry, WholeDocument
from scopeward.policy.environments import Environment, check_references, in_environment
from scopeward.policy.freeze import Part, freeze
from scopeward.policy.include import parse_pattern
from scopeward.policy.model import Policy
from scopeward.policy.tree import Keys, Scalar, Spans, plain_value, read_tree

__all__ = ["INCLUDED", "LARGEST", "Loaded", "Written", "load", "load_files", "read"]

E = TypeVar("E", bound=Entry)

MOST_PROBLEMS_IN_ALL: Final = 10_000
"""Problems of form after which the rest of the files is not read: enough that no single file hides what is wrong with the others."""

INCLUDED: Final = "files"
"""The key below which the places of included files stand, by the file's name: their ``defaults`` are not the policy's."""

# What YAML 1.2 section 5.1 does not take; then what a reader does not see as the parser does: a carriage return alone, NEL, LS and PS
# end a line (and a comment) for YAML 1.1 parsers only, and bidirectional controls show text in another order (CVE-2021-42574).
_UNSEEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)|[\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy whose form is right, and where each part of it stands. Whether it makes sense is for ``analysis.checks``.

    ``warnings`` are what was found already, and keeps nothing from being applied.
    """

    policy: Policy
    spans: Spans
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file that was understood: its name as diagnostics show it, and whose it is."""

    name: str
    tree: Keys
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A policy as it is written, for all environments. Make one with ``read``.

    ``root`` is the policy's own file, ``included`` are the others, in order of their paths, and ``patterns`` what includes them. ``owners`` are those of
    the teams, and below ``None`` those of the whole; ``team_patterns`` are the teams' ``files``.
    """

    root: File
    included: tuple[File, ...]
    environments: tuple[Environment, ...]
    warnings: tuple[Diagnostic, ...]
    owners: Mapping[str | None, tuple[str, ...]]
    patterns: tuple[str, ...]
    team_patterns: Mapping[str, tuple[str, ...]]

    @without_collecting()
    def choose(self, env: str | None) -> Loaded | tuple[Diagnostic, ...]:
        """The policy in an environment, or all that is wrong with it there, however much that is.

        Errors: ``env-needed`` and ``env-unknown`` among the diagnostics, where it has no such environment.
        """
        found = self._environment(env)
        if isinstance(found, Diagnostic):
            return (found,)
        trees = [replace(file, tree=in_environment(file.tree, found)) for file in (self.root, *self.included)]
        form = PolicyDocument if "include" in self.root.tree.entries else WholeDocument
        document, wrong = _validated(trees[0].tree, form)
        parts = []
        for file in trees[1:]:
            part, more = _validated(file.tree, IncludedDocument)
            wrong += more
            if part is not None:
                parts.append(Part(file.name, part, file.team))
        if document is None or wrong:
            return tuple(wrong)
        return Loaded(freeze(document, parts, found), Spans(_merged(trees)), self.warnings)

    def _environment(self, env: str | None) -> Environment | Diagnostic | None:
        names = [environment.name for environment in self.environments]
        place = Spans(self.root.tree).key(("environments",))
        if env is None:
            said = f"the policy has the environments {', '.join(names)}, and none is chosen"
            return diagnose("env-needed", said, place) if names else None
        if not names:
            return diagnose("env-unknown", f"the environment {quoted(env)} is chosen, and the policy has no 'environments'", place, help="Leave --env out.")
        if env not in names:
            meant = suggestion(env, names)
            help = f"Did you mean '{meant}'?" if meant else f"The environments are {', '.join(names)}."
            return diagnose("env-unknown", f"there is no environment {quoted(env)}", place, help=help)
        return self.environments[names.index(env)]


def load(text: bytes, name: str, env: str | None = None) -> Loaded | tuple[Diagnostic, ...]:
    """Read a policy of one file. ``name`` is the file's name as diagnostics show it; the rest is as in ``load_files``."""
    return load_files({name: text}, name, env)


def load_files(files: Mapping[str, bytes], root: str, env: str | None = None) -> Loaded | tuple[Diagnostic, ...]:
    """Read a policy of several files, by their paths below the folder of the one that is named ``root``.

    Bad content raises nothing: all complaints come back, in order of their places and at most ``MOST_SHOWN`` with what is left of each kind.
    Problems of form that leave the content unknown (syntax, an alias) hide those of content.
    """
    written = read(Bundle(root, files, env))
    loaded = written.choose(env) if isinstance(written, Written) else written
    return loaded if isinstance(loaded, Loaded) else limited(loaded)


@without_collecting()
def read(bundle: Bundle) -> Written | tuple[Diagnostic, ...]:
    """Understand what does not depend on the environment. All complaints come back, however many: for ``limited``."""
    root, problems, understood = _tree(bundle, bundle.root)
    if root is None or not understood:
        return tuple(problems)
    head, wrong = _validated(root, HeadDocument)
    if head is None:
        if "environments" not in root.entries:  # else their values would be missed all over the file
            wrong = _validated(root, PolicyDocument if "include" in root.entries else WholeDocument)[1]
        return (*problems, *wrong)
    spans = Spans(root)
    paths, more = _included(bundle, head, spans)
    problems += more
    files: list[File] = []
    for path in paths:
        tree, more, whole = _tree(bundle, path)
        problems, understood = problems + more, understood and whole
        if len(problems) >= MOST_PROBLEMS_IN_ALL:
            return tuple(problems)
        if tree is not None:
            files.append(File(bundle.shown(path), tree))
    if not understood:
        return tuple(problems)
    return _written(bundle, File(bundle.shown(bundle.root), root), files, head, problems)


def _written(bundle: Bundle, root: File, files: list[File], head: HeadDocument, problems: list[Diagnostic]) -> Written | tuple[Diagnostic, ...]:
    environments = _environments(head.environments, Spans(root.tree))
    owned = [_owned(file, file.name.removeprefix(bundle.folder), head.teams) for file in files]
    problems += [found for found in owned if isinstance(found, Diagnostic)]
    included = tuple(found for found in owned if isinstance(found, File))
    problems += _twice([root, *included])
    problems += check_references(root.tree, [file.tree for file in (root, *included)], environments)
    if any(problem.severity == "error" for problem in problems):
        values_missing = bool(environments) or any(problem.reference.startswith("env-") for problem in problems)
        return (*problems, *(() if values_missing else _wrong_anywhere(root, included)))
    owners: dict[str | None, tuple[str, ...]] = {None: tuple(head.owners or ()), **{name: tuple(entry.owners or ()) for name, entry in head.teams.items()}}
    by_team = {name: tuple(entry.files or ()) for name, entry in head.teams.items()}
    return Written(root, included, environments, tuple(problems), owners, tuple(head.include or ()), by_team)


def _wrong_anywhere(root: File, included: tuple[File, ...]) -> Iterator[Diagnostic]:
    """What is wrong beside what ``read`` found, where no value of an environment is in the way."""
    yield from _validated(root.tree, PolicyDocument if "include" in root.tree.entries else WholeDocument)[1]
    for file in included:
        yield from _validated(file.tree, IncludedDocument)[1]


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tree(bundle: Bundle, path: str) -> tuple[Keys | None, list[Diagnostic], bool]:
    """The file's mapping, ``None`` where there is none; its problems; and whether it was understood as far as it goes."""
    name = bundle.shown(path)
    decoded = _decode(bundle.files[path], name)
    if isinstance(decoded, Diagnostic):
        return None, [decoded], False
    root, problems, understood = read_tree(decoded, name)
    found = list(problems)
    if not understood:
        return None, found, False
    if root is None or (isinstance(root, Scalar) and plain_value(root) is None):
        said = "the policy has no content" if path == bundle.root else "the file has no content"
        return None, [*found, diagnose("policy-empty", said, Span(name, 1, 1))], False
    if not isinstance(root, Keys):
        said = "a policy is a mapping of keys, beginning with 'version: 1'" if path == bundle.root else "a file that is included is a mapping of keys"
        return None, [*found, diagnose("policy-type", said, root.span)], False
    return root, found, True


def _included(bundle: Bundle, head: HeadDocument, spans: Spans) -> tuple[list[str], list[Diagnostic]]:
    """The paths of the files that the policy includes, in their order, and what is wrong with that."""
    wrong: list[Diagnostic] = []
    found: set[str] = set()
    for number, text in enumerate(head.include or ()):
        place = spans.of(("include", number)) if not isinstance(spans.node(("include",)), Scalar) else spans.of(("include",))
        pattern = parse_pattern(text)
        there = {path for path in (*bundle.files, *bundle.unread) if pattern.matches(path)}
        if not there:
            wrong.append(diagnose("include-nothing", f"no file matches {quoted(text)}", place))
        if bundle.root in there:
            wrong.append(diagnose("include-nested", f"{quoted(text)} includes the policy's own file", place, help="Name the others only."))
        wrong += [_unread(path, bundle, place) for path in sorted(there - found) if path in bundle.unread]
        found |= there
    paths = sorted(found & set(bundle.files) - {bundle.root})
    size = sum(len(bundle.files[path]) for path in paths)
    if (len(paths) > MOST_FILES or size > LARGEST_IN_ALL) and not bundle.unread:
        said = f"more than {MOST_FILES} files are included" if len(paths) > MOST_FILES else f"the files have more than {LARGEST_IN_ALL} bytes"
        wrong.append(diagnose("include-too-much", said, spans.key(("include",))))
    return ([] if any(d.reference == "include-too-much" for d in wrong) else paths), wrong


def _unread(path: str, bundle: Bundle, place: Span) -> Diagnostic:
    name = quoted(bundle.shown(path))
    match bundle.unread[path]:
        case "outside":
            return diagnose("include-outside", f"{name} leads out of the policy's folder", place)
        case "unreadable":
            return diagnose("policy-unreadable", f"{name} cannot be read, or is no file", place)
        case "too-many":
            return diagnose("include-too-much", f"more than {MOST_FILES} files are included", place)
        case "too-large":
            return diagnose("include-too-much", f"the files have more than {LARGEST_IN_ALL} bytes", place)


def _owned(file: File, path: str, teams: Mapping[str, TeamEntry]) -> File | Diagnostic:
    """The file with its team: the one whose ``files`` it is among, else the one that it names."""
    spans = Spans(file.tree)
    place = spans.of(("team",))
    said = file.tree.entries.get("team")
    stated = said.text if isinstance(said, Scalar) else None
    by_path = [name for name, entry in teams.items() if any(parse_pattern(p).matches(path) for p in entry.files or ())]
    if len(by_path) > 1:
        return diagnose("team-contradiction", f"the file is among those of the teams {' and '.join(map(quoted, by_path))}", file.tree.span)
    if stated is None or (by_path and by_path[0] == stated):
        return replace(file, team=by_path[0] if by_path else None)
    if by_path:
        return diagnose("team-contradiction", f"the file is one of the team {quoted(by_path[0])}, and says {quoted(stated)}", place)
    if teams and stated not in teams:
        meant = suggestion(stated, teams)
        return diagnose(
            "name-unknown", f"the team {quoted(stated)} is not defined", place, help=f"Did you mean '{meant}'?" if meant else "Define it in 'teams'."
        )
    if teams and teams[stated].files is not None:
        return diagnose("team-contradiction", f"the file is not among those of the team {quoted(stated)}", place)
    return replace(file, team=stated)


def _twice(files: list[File]) -> Iterator[Diagnostic]:
    """``name-twice``: a name that two files define. Within one file a key that stands twice is told by the reader."""
    for section in SECTIONS:
        first: dict[str, Span] = {}
        for file in files:
            entries = file.tree.entries.get(section)
            for name, place in entries.places.items() if isinstance(entries, Keys) else ():
                if name in first:
                    said = f"the name {quoted(name)} of '{section}' stands twice, first at {first[name]}"
                    yield diagnose("name-twice", said, place)
                first.setdefault(name, place)


def _merged(files: list[File]) -> Keys:
    """All places: those of the policy's own file with the entries of all files in its sections, and those of each file below ``INCLUDED``."""
    root, *others = files
    entries, places = dict(root.tree.entries), dict(root.tree.places)
    for section in SECTIONS:
        parts = [(part, file.tree.places[section]) for file in files if isinstance(part := file.tree.entries.get(section), Keys)]
        if parts and others:
            first, place = parts[0]
            whole = Keys(first.span)
            for part, _ in parts:
                whole.entries.update(part.entries)
                whole.places.update(part.places)
            entries[section] = whole
            places.setdefault(section, place)
    start = root.tree.span
    below = Keys(start, {file.name: file.tree for file in others}, {file.name: file.tree.span for file in others})
    return Keys(start, {**entries, INCLUDED: below}, {**places, INCLUDED: start})


# ── content ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _validated(root: Keys, form: type[E]) -> tuple[E | None, list[Diagnostic]]:
    try:
        return form.model_validate(plain_value(root)), []
    except ValidationError as e:
        return None, complaints(e, Spans(root), form)


def _environments(entries: Mapping[str, EnvironmentEntry], spans: Spans) -> tuple[Environment, ...]:
    """With the places of their values, which pydantic does not know."""
    found = []
    for name, entry in entries.items():
        values = {key: spans.node(("environments", name, key)) for key in entry.model_extra or {}}
        found.append(Environment(name, {key: value for key, value in values.items() if isinstance(value, Scalar)}, entry.confirm))
    return tuple(found)


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

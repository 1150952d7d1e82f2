"""The files of a policy: found and read from where they are written, and kept as one file where they are applied.

1. Only what lies below the folder of the policy's own file is read, also where links lead: a file may be included by whoever may write the policy,
   and what is read may be shown.
2. What cannot be read is noted and not skipped: the loader refuses a policy that is not whole.
3. Folders are read in the order of names, so that the same tree is the same policy.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from scopeward.errors import ScopewardError
from scopeward.policy.bundle import LARGEST, LARGEST_IN_ALL, MOST_FILES, Bundle, Unread
from scopeward.policy.include import Pattern, is_wild, patterns_of, segment_matches

__all__ = ["Bundle", "folders_of", "read_policy", "stored", "without_folder"]

_MARK: Final = b'{"scopeward-applied": 1,'
"""How a file begins that holds an applied policy; no policy begins so, since the key is not one of the language."""
_LARGEST_STORED: Final = 2 * (LARGEST_IN_ALL + LARGEST)
"""JSON escapes some characters; a file that is larger is none of ours."""


def read_policy(path: Path, env: str | None = None) -> Bundle:
    """A policy's files, with the environment that is chosen; or an applied policy, with the environment for which it was applied.

    Whether they are any good is for the loader. Errors: ``policy-unreadable``; ``state-damaged`` and ``env-other`` of an applied policy.
    """
    try:
        if path.is_dir():
            raise ScopewardError("policy-unreadable", f"'{path}' is a directory")
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)  # the loader says that it is too large
            if text.startswith(_MARK):
                return _applied(text + file.read(_LARGEST_STORED), path, env)
    except OSError as error:
        raise ScopewardError("policy-unreadable", f"'{path}': {error.strerror}") from None
    shown = str(path.parent / "x")[:-1]  # '' for the current folder
    files, unread = _included(path, text)
    return Bundle(path.name, {path.name: text, **files}, env, shown, unread)


def folders_of(bundle: Bundle, path: Path) -> frozenset[Path]:
    """The folders in which a change may be one of the policy: those of its files, and those in which a new one would match."""
    below = {Path(name).parent for name in bundle.files} | {Path(*pattern.folder) for pattern in patterns_of(bundle.files[bundle.root])}
    return frozenset(folder for name in below if (folder := path.parent / name).is_dir())


def stored(bundle: Bundle) -> str:
    """A policy as it is applied: its file as it is where that is all, else all files and the environment in one. ``read_policy`` reads both.

    The files must have been found to be UTF-8.
    """
    if bundle.env is None and set(bundle.files) == {bundle.root}:
        return bundle.files[bundle.root].decode()
    said = {"env": bundle.env, "root": bundle.root, "files": {path: text.decode() for path, text in sorted(bundle.files.items())}}
    return _MARK.decode() + json.dumps(said, ensure_ascii=False)[1:] + "\n"


def _applied(text: bytes, path: Path, env: str | None) -> Bundle:
    try:
        said: Any = json.loads(text)
        bundle = Bundle(said["root"], {name: content.encode() for name, content in said["files"].items()}, said["env"])
    except (ValueError, KeyError, TypeError, AttributeError):
        bundle = Bundle("", {})
    if not isinstance(bundle.root, str) or bundle.root not in bundle.files or not isinstance(bundle.env, str | None):
        raise ScopewardError("state-damaged", f"'{path}' is no applied policy", "Apply the policy again.")
    if env not in {None, bundle.env}:
        what = "it has no environments" if bundle.env is None else f"it was applied for {bundle.env!a}"
        raise ScopewardError("env-other", f"'{path}' is not for the environment {env!a}: {what}")
    return bundle


# ── what is included ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _included(root: Path, text: bytes) -> tuple[dict[str, bytes], dict[str, Unread]]:
    files: dict[str, bytes] = {}
    unread: dict[str, Unread] = {}
    tree, left = root.parent.resolve(), LARGEST_IN_ALL
    for name in _names(root, patterns_of(text)):
        if name == root.name:
            continue  # the loader says that it includes itself
        if len(files) + len(unread) >= MOST_FILES:
            unread[name] = "too-many"
            break
        content = _content(root.parent / name, tree)
        if isinstance(content, str):
            unread[name] = content
            continue
        left -= len(content)
        if left < 0:
            unread[name] = "too-large"
            break
        files[name] = content
    return files, unread


def _names(root: Path, patterns: tuple[Pattern, ...]) -> list[str]:
    return sorted({name for pattern in patterns for name in _matching(root.parent, pattern.segments, "")})


def _matching(folder: Path, segments: tuple[str, ...], before: str) -> Iterator[str]:
    """The paths that match, folder by folder. A folder that is not there, or may not be read, holds none."""
    first, rest = segments[0], segments[1:]
    for name in _entries(folder, first):
        path = folder / name
        if rest and path.is_dir():
            yield from _matching(path, rest, f"{before}{name}/")
        elif not rest and not path.is_dir() and os.path.lexists(path):
            yield before + name


def _entries(folder: Path, segment: str) -> list[str]:
    if not is_wild(segment):
        return [segment]
    try:
        return sorted(entry.name for entry in folder.iterdir() if segment_matches(segment, entry.name))
    except OSError:
        return []


def _content(path: Path, tree: Path) -> bytes | Unread:
    """A file's bytes, or why they are not read. The place that links lead to is opened, and not the link: it might lead elsewhere by now."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(tree):
            return "outside"
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return "unreadable"
            return file.read(LARGEST + 1)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return "unreadable"


def without_folder(bundle: Bundle) -> Bundle:
    """The same, whose diagnostics name files as seen from the policy's own."""
    return replace(bundle, folder="")

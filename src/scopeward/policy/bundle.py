"""All files of a policy as they are read, with the environment that was chosen for it. Reading them is for ``policy_files``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a policy file."""

LARGEST_IN_ALL: Final = 64 * 1024 * 1024
"""Bytes of all files of a policy."""

MOST_FILES: Final = 1000
"""Files that a policy may include."""

Unread = Literal["outside", "unreadable", "too-many", "too-large"]
"""Why a file that is included was not read: a link leads out of the tree, it cannot be read, or there is too much."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """``files`` are by their path below the folder of the policy's own file, which is ``root``; paths are written with ``/``.

    ``env`` is the environment that was chosen. ``folder`` is how that folder was named, with a slash at its end, or empty: diagnostics name
    files as they were given. ``unread`` are files that should be here, and why they are not.
    """

    root: str
    files: Mapping[str, bytes]
    env: str | None = None
    folder: str = ""
    unread: Mapping[str, Unread] = field(default_factory=dict)

    @classmethod
    def of(cls, text: bytes, name: str, env: str | None = None) -> Bundle:
        """A policy of one file."""
        return cls(name, {name: text}, env)

    def shown(self, path: str) -> str:
        """The file's name as diagnostics show it."""
        return self.folder + path

    @property
    def sha256(self) -> str:
        """In hex: of the file where it is the only one and no environment is chosen, else of all files, their names and the environment."""
        if self.env is None and set(self.files) == {self.root} and not self.unread:
            return hashlib.sha256(self.files[self.root]).hexdigest()
        files = {path: hashlib.sha256(text).hexdigest() for path, text in self.files.items()}
        said = {"env": self.env, "root": self.root, "files": files, "unread": dict(self.unread)}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

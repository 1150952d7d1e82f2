"""The certificate files of a node, read together, and read again when they change.

Certificates are renewed under a running node, by programs that know nothing of it: with a rename, a swapped link (Kubernetes, certbot) or by
writing into the file. A certificate and its key are two files, so there is a moment in which they do not fit.

1. A look compares what the system says of each file: device, inode, size, times. Only a difference makes it read.
2. What is read is checked as at a start, all files together. What changed while it was read is not believed.
3. What is refused changes nothing. Every look tries again, until it is good or the files are as they were.
4. A refusal is told when the look after it still refuses: the moment between two files is no news.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scopeward.compile.snapshot import TlsMaterial
from scopeward.errors import ScopewardError
from scopeward.tls.material import expires_at, read_authorities, read_combined, read_pair

REFERENCE: Final = "file:"
"""How a policy's reference to a file begins; the path follows."""

Mark = tuple[int, int, int, int, int] | None
"""What tells that a file is another or was written: device, inode, size, and the times of content and mode. ``None`` for no file."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files. ``cert`` and ``key`` are both named or both not.

    ``upstream`` are the policy's references (``file:/path.pem``) to certificates that the gateway shows upstreams; ``ca_bundle`` is the policy's.
    """

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    upstream: tuple[str, ...] = ()
    ca_bundle: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        named = (self.cert, self.key, self.client_ca, self.ca_bundle, *map(_path, self.upstream))
        return tuple(path for path in named if path is not None)


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate of the gateway's own ends. ``expires_at`` is in seconds since the epoch."""

    what: str
    path: Path
    expires_at: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held: as ``compile.snapshot.Edge`` takes it. Equal where the certificates are, whatever the files' times and modes.

    ``exposed`` are files with a key that every user of the machine may read: in a container nobody else is there, elsewhere it is worth a warning.
    """

    files: CertificateFiles
    tls: TlsMaterial | None
    client_ca: str | None
    upstream_tls: Mapping[str, TlsMaterial]
    ca_bundle: str | None = field(repr=False)
    expiries: tuple[Expiry, ...]
    exposed: tuple[Path, ...] = field(compare=False)
    marks: tuple[Mark, ...] = field(repr=False, compare=False)


def load(files: CertificateFiles, now: float) -> Loaded:
    """Read and check all of them. ``now`` is in seconds since the epoch. Errors: ``tls-certificate``."""
    marks = _marks(files)
    tls = read_pair(files.cert, files.key, now) if files.cert is not None and files.key is not None else None
    client_ca = read_authorities(files.client_ca) if files.client_ca is not None else None
    upstream_tls = {reference: read_combined(_path(reference), now) for reference in files.upstream}
    ca_bundle = read_authorities(files.ca_bundle) if files.ca_bundle is not None else None
    if _marks(files) != marks:
        raise ScopewardError("tls-certificate", "the files changed while they were read", "Try again.")
    return Loaded(files, tls, client_ca, upstream_tls, ca_bundle, _expiries(files, tls, upstream_tls), _exposed(files), marks)


class Certificates:
    """Watches the files of what is in force. Nothing here waits: a look costs one ``stat`` a file."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._failing = False

    @property
    def loaded(self) -> Loaded:
        """What is in force."""
        return self._loaded

    def use(self, loaded: Loaded) -> None:
        """Take it as what is in force from now on: after a look found it, or because a policy names other files."""
        self._loaded = loaded
        self._failing = False

    def look(self, now: float) -> Loaded | ScopewardError | None:
        """What the files hold now, where it is another and good: the caller puts it in force and calls ``use``, else each look gives it again.

        An error where what they hold is refused, for as long as it is. ``None`` where there is nothing to do.
        """
        if _marks(self._loaded.files) == self._loaded.marks:
            self._failing = False
            return None
        try:
            found = load(self._loaded.files, now)
        except ScopewardError as error:
            again, self._failing = self._failing, True
            return error if again else None
        self._failing = False
        if found != self._loaded:
            return found
        self._loaded = found
        return None


def _path(reference: str) -> Path:
    return Path(reference.removeprefix(REFERENCE))


def _marks(files: CertificateFiles) -> tuple[Mark, ...]:
    return tuple(_mark(path) for path in files.paths())


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _exposed(files: CertificateFiles) -> tuple[Path, ...]:
    keys = (*((files.key,) if files.key is not None else ()), *map(_path, files.upstream))
    return tuple(path for path in keys if _is_exposed(path))


def _is_exposed(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # gone since it was read, which the marks will tell
        return False


def _expiries(files: CertificateFiles, tls: TlsMaterial | None, upstream_tls: Mapping[str, TlsMaterial]) -> tuple[Expiry, ...]:
    own = [Expiry("listener", files.cert, expires_at(tls))] if tls is not None and files.cert is not None else []
    return (*own, *(Expiry("upstream", _path(reference), expires_at(material)) for reference, material in upstream_tls.items()))

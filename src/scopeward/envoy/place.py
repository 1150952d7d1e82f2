"""Where a node stands: the address that callers reach, and what it shows and believes there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from scopeward.compile.snapshot import TlsMaterial
from scopeward.envoy.limits import default_heap
from scopeward.errors import ScopewardError


@dataclass(frozen=True, slots=True)
class Listen:
    """Where callers reach the node. Its text is ``HOST:PORT``, as a URL has it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, *, tls: bool = False) -> str:
        """The address as a URL."""
        return f"{'https' if tls else 'http'}://{self}"

    @property
    def family(self) -> socket.AddressFamily:
        """Of its sockets."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def refused(self, error: OSError, remedy: str | None = None) -> ScopewardError:
        """Why nobody can listen there: ``port-in-use`` or ``address-not-usable``."""
        reference = "port-in-use" if error.errno == errno.EADDRINUSE else "address-not-usable"
        return ScopewardError(reference, f"{self}: {error.strerror}", remedy)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the node stands. What each field means says ``compile.snapshot.Edge``; ``heap`` is what Envoy's memory may grow to, in bytes."""

    listen: Listen
    tls: TlsMaterial | None = None
    client_ca: str | None = None
    proxies: tuple[str, ...] = ()
    upstream_tls: Mapping[str, TlsMaterial] = field(default_factory=dict)
    ca_bundle: str | None = field(default=None, repr=False)
    heap: int = field(default_factory=default_heap)


def require_free(listen: Listen) -> None:
    """Envoy would share a port with another Envoy of this user and say nothing. Errors: ``port-in-use``, ``address-not-usable``."""
    with socket.socket(listen.family, socket.SOCK_STREAM) as probing:
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probing.bind((listen.host, listen.port))
        except OSError as error:
            raise listen.refused(error) from None


async def until_free(listen: Listen, patience: float) -> None:
    """The same after at most ``patience`` seconds in which it gets free."""
    deadline = asyncio.get_running_loop().time() + patience
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(ScopewardError):
            require_free(listen)
            return
        await asyncio.sleep(0.02)
    require_free(listen)

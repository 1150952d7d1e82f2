"""Loopback only: the provider signs in anybody without a password, so nobody but this machine may reach it."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from scopeward.errors import ScopewardError

_HOST = re.compile(r"\A(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?\Z")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by itself: ``localhost``, 127.0.0.0/8 or ``::1``. Nothing is resolved."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def open_loopback_socket(host: str, port: int) -> socket.socket:
    """Listen at the address; port 0 takes a free one. ``localhost`` is 127.0.0.1, whatever the resolver says.

    Raises ``ScopewardError``: ``address-not-usable`` or ``port-in-use``.
    """
    if not is_loopback(host):
        raise ScopewardError("address-not-usable", f"the development provider listens on loopback only, not on {host!r}")
    address = "127.0.0.1" if host.lower() == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reference = "port-in-use" if error.errno == errno.EADDRINUSE else "address-not-usable"
        raise ScopewardError(reference, f"{address} port {port}: {error.strerror}") from None
    return listener


def provider_server(app: ASGIApp) -> uvicorn.Server:
    """A uvicorn server with what this provider needs: no forwarded headers are believed, and no request line is logged.

    Run it with ``server.run(sockets=[open_loopback_socket(host, port)])``; set ``server.should_exit`` to stop it.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )


class LoopbackHostOnly:
    """Refuses with 421 what does not name loopback as its host (RFC 9110 section 15.5.20).

    A page of another origin whose name was made to resolve to 127.0.0.1 (DNS rebinding) still sends its own name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or _names_loopback(scope):
            await self._app(scope, receive, send)
            return
        body = {"error": "misdirected_request", "error_description": "the Host header must name loopback"}
        await JSONResponse(body, 421, {"Cache-Control": "no-store"})(scope, receive, send)


def _names_loopback(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    found = _HOST.match(hosts[0])
    return found is not None and is_loopback(found[1].strip("[]"))

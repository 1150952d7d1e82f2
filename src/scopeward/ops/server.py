"""The endpoints ``/livez``, ``/readyz`` and ``/metrics``, and their server inside of the warden's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from scopeward.errors import ScopewardError
from scopeward.ops.metrics import CONTENT_TYPE, exposition
from scopeward.status.node_status import NodeStatus

READINESS_PATIENCE: Final = 5.0
"""Seconds in which readiness must be known: less than supervisors usually wait (10 s), so that they are told why."""
REQUEST_PATIENCE: Final = 5.0
"""Seconds in which a whole request must have arrived on a new connection."""
MOST_CONNECTIONS: Final = 64
"""Beyond it the answer is 503: a few supervisors and monitors ask, and the warden has other work."""
NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}

log = logging.getLogger(__name__)

Readiness = Callable[[], Awaitable[str | None]]
"""``None`` where the node is ready, else why it is not."""


class _Impatient(H11Protocol):
    """Closes a connection on which no request begins in time: else a few that say nothing would keep everybody out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn itself
        super().connection_made(transport)
        self.loop.call_later(REQUEST_PATIENCE, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class OpsServer(uvicorn.Server):
    """A server that leaves the process's signals to the process: they end the warden, and that ends this."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def ops_server(readiness: Readiness, status: Callable[[], NodeStatus]) -> OpsServer:
    """A server of the three endpoints; ``serve_ops`` runs it. ``status`` is asked at each scrape, and must be quick."""
    return OpsServer(
        uvicorn.Config(
            ops_app(readiness, status),
            http=_Impatient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
    )


async def serve_ops(server: OpsServer, listening: socket.socket) -> None:
    """Serve on a socket that listens, until cancelled; then the socket is closed and open requests have a second to end."""
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def ops_app(readiness: Readiness, status: Callable[[], NodeStatus]) -> Starlette:
    """The endpoints, each for GET and HEAD. No header of a request is looked at, not even Host."""
    ready = _OneAtATime(readiness)
    metrics = exposition(status)

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("live\n", headers=NO_STORE)

    async def readyz(_request: Request) -> Response:
        why_not = await ready.ask()
        return PlainTextResponse("ready\n" if why_not is None else f"not ready: {_one_line(why_not)}\n", 200 if why_not is None else 503, NO_STORE)

    async def show_metrics(_request: Request) -> Response:
        return Response(metrics(), headers=NO_STORE, media_type=CONTENT_TYPE)

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False  # a redirect would name the Host that the request names
    return app


class _OneAtATime:
    """Asks for readiness once for all who ask at the same time: each question is a call on the data port."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._asking: asyncio.Task[str | None] | None = None

    async def ask(self) -> str | None:
        """Why the node is not ready. What goes wrong while asking is a reason, too."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
        return await asyncio.shield(self._asking)

    async def _answer(self) -> str | None:
        try:
            async with asyncio.timeout(READINESS_PATIENCE):
                return await self._readiness()
        except TimeoutError:
            return f"no answer within {READINESS_PATIENCE:.0f} s"
        except ScopewardError as error:
            return str(error)
        except Exception:  # whatever it is, the node is not known to be ready
            log.exception("readiness could not be told")
            return "it could not be told; the warden's log says why"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)

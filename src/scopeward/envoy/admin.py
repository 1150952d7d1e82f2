"""Envoy's admin interface over its unix socket: what is really in force, and the ways to end it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx2

_READ_BACK: Final = (
    r"^(listener_manager\.lds|cluster_manager\.cds|http\.edge\.rds\.routes|extension_config_discovery\.http_filter\..+|sds\..+|listener_manager|server)\."
    r"(version_text|update_rejected|update_failure|config_fail|total_listeners_active|state)$"
)

WRITE_FAILURES: Final = r"^filesystem\.write_failed$"
"""Audit lines are all that Envoy writes again and again."""

ACTIVE_CALLS: Final = "http.edge.downstream_rq_active"
ACTIVE_CONNECTIONS: Final = "http.edge.downstream_cx_active"


class Admin:
    """One Envoy's admin interface. Methods raise ``httpx2.HTTPError`` where it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://envoy", timeout=2.0)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()

    async def stats(self, pattern: str = _READ_BACK) -> dict[str, str]:
        """Statistics by name; without a pattern those that tell what was taken. Never config_dump: it shows a rejected update as active."""
        answer = await self._ask("GET", "/stats", filter=pattern)
        answer.raise_for_status()
        return dict(line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)

    async def active(self) -> tuple[int, int]:
        """Callers' connections and calls that are open now."""
        stats = await self.stats(f"^({ACTIVE_CONNECTIONS}|{ACTIVE_CALLS})$".replace(".", r"\."))
        return int(stats.get(ACTIVE_CONNECTIONS, "0")), int(stats.get(ACTIVE_CALLS, "0"))

    async def drain(self) -> None:
        """Let connections end by themselves, still accepting new ones."""
        await self._ask("POST", "/drain_listeners", graceful="", skip_exit="")

    async def stop_listening(self) -> None:
        """Accept no more connections; those that are open go on."""
        await self._ask("POST", "/drain_listeners")

    async def quit(self) -> None:
        """End Envoy."""
        await self._ask("POST", "/quitquitquit")

    async def _ask(self, method: str, path: str, **parameters: str) -> httpx2.Response:
        if self._client.is_closed:
            raise httpx2.ConnectError("Envoy was let go of")
        return await self._client.request(method, path, params=parameters)


async def stats_or_none(admin: Admin, pattern: str = _READ_BACK) -> dict[str, str] | None:
    """The statistics, or ``None`` where Envoy does not answer in time: its main thread is busy while it reads a large table."""
    try:
        async with asyncio.timeout(2.5):  # wait_for of Python 3.11 can lose a cancellation
            return await admin.stats(pattern)
    except (httpx2.HTTPError, TimeoutError):
        return None


def version_stat(path: str) -> str:
    """The statistic whose ``version_text`` tells which version of a published file is in force."""
    kind, name, *_ = path.split("/")
    match kind:
        case "listeners":
            return "listener_manager.lds"
        case "clusters":
            return "cluster_manager.cds"
        case "routes":
            return "http.edge.rds.routes"
        case "secrets":
            return f"sds.{name}"
        case _:
            return f"extension_config_discovery.http_filter.{name}"


def version_of(stats: Mapping[str, str], stat: str) -> str:
    """Which version is in force; empty where none is."""
    return stats.get(f"{stat}.version_text", "").strip('"')


def refusals_of(stats: Mapping[str, str], stat: str) -> int:
    """How many updates were not taken."""
    return sum(int(stats.get(f"{stat}.{name}", "0")) for name in ("update_rejected", "update_failure", "config_fail"))


def is_listening(stats: Mapping[str, str]) -> bool:
    """Envoy is live, and at least one listener accepts connections. '/ready' says LIVE with no port open."""
    return stats.get("server.state") == "0" and stats.get("listener_manager.total_listeners_active", "0") != "0"

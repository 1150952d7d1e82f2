"""Envoy's admin interface over its unix socket: what is really in force, and the ways to end it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

_READ_BACK = r"^(listener_manager\.lds|cluster_manager\.cds|http\.edge\.rds\.routes|extension_config_discovery\.http_filter\..+|listener_manager|server)\."
_READ_BACK += r"(version_text|update_rejected|update_failure|config_fail|total_listeners_active|state)$"


class Admin:
    """One Envoy's admin interface. Methods raise ``httpx2.HTTPError`` where it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://envoy", timeout=2.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def stats(self) -> dict[str, str]:
        """The statistics that tell what was taken, by name. Never config_dump: it shows a rejected update as active."""
        answer = await self._client.get("/stats", params={"filter": _READ_BACK})
        answer.raise_for_status()
        return dict(line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)

    async def drain(self) -> None:
        """Let connections end by themselves, still accepting new ones."""
        await self._client.post("/drain_listeners?graceful&skip_exit")

    async def quit(self) -> None:
        """End Envoy."""
        await self._client.post("/quitquitquit")


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
        case _:
            return f"extension_config_discovery.http_filter.{name}"

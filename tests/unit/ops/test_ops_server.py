from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest

from scopeward.errors import ScopewardError
from scopeward.ops import ops_server, serve_ops
from scopeward.ops import server as server_module
from scopeward.ops.server import Readiness
from tests.kit.status import STATUS_OF_A_NODE


async def ready() -> str | None:
    return None


@asynccontextmanager
async def served(readiness: Readiness = ready) -> AsyncIterator[httpx2.AsyncClient]:
    """The endpoints on a free port of loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(serve_ops(ops_server(readiness, lambda: STATUS_OF_A_NODE), listening))
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as client:
            yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert listening.fileno() == -1


def ask(path: str, method: str = "GET", readiness: Readiness = ready, **options: Any) -> httpx2.Response:
    async def main() -> httpx2.Response:
        async with served(readiness) as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


def test_it_lives() -> None:
    answer = ask("/livez")
    assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (200, "live\n", "no-store")
    assert "server" not in answer.headers


def test_it_is_ready_where_it_says_so() -> None:
    assert (ask("/readyz").status_code, ask("/readyz").text) == (200, "ready\n")


def failing(error: Exception) -> Callable[[], Any]:
    async def readiness() -> str | None:
        raise error

    return readiness


async def not_yet() -> str | None:
    return "routes: another\nversion"


@pytest.mark.parametrize(
    ("readiness", "text"),
    [
        (not_yet, "not ready: routes: another version\n"),
        (failing(ScopewardError("envoy-not-started", "x")), "not ready: envoy-not-started: x\n"),
        (failing(RuntimeError("what only a log may say")), "not ready: it could not be told; the warden's log says why\n"),
    ],
)
def test_it_is_not_ready_and_says_why(readiness: Readiness, text: str) -> None:
    answer = ask("/readyz", readiness=readiness)
    assert (answer.status_code, answer.text) == (503, text)


def test_readiness_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> str | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(server_module, "READINESS_PATIENCE", 0.05)
    answer = ask("/readyz", readiness=hang)
    assert (answer.status_code, answer.text) == (503, "not ready: no answer within 0 s\n")


def test_all_who_ask_at_the_same_time_share_one_question() -> None:
    asked = 0

    async def main() -> list[int]:
        go = asyncio.Event()

        async def slow() -> str | None:
            nonlocal asked
            asked += 1
            await go.wait()
            return None

        async with served(slow) as client:
            asking = [asyncio.create_task(client.get("/readyz")) for _ in range(8)]
            while not asked:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert (await client.get("/livez")).status_code == 200, "it lives while readiness is being asked"
            go.set()
            answers = [(await answer).status_code for answer in asking]
            answers.append((await client.get("/readyz")).status_code)
            return answers

    assert asyncio.run(main()) == [200] * 9
    assert asked == 2


def test_metrics_are_in_prometheus_format() -> None:
    answer = ask("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE scopeward_calls_total counter\n" in answer.text


@pytest.mark.parametrize("path", ["/", "/livez/", "/livez/x", "/metrics/", "/docs", "//livez", "/livez%2f", "/../livez/.."])
def test_there_is_nothing_else(path: str) -> None:
    answer = ask(path, headers={"Host": "evil.example.test"})
    assert answer.status_code == 404
    assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_only_get_and_head(path: str) -> None:
    assert (ask(path, "HEAD").status_code, ask(path, "HEAD").text) == (200, "")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        answer = ask(path, method)
        assert answer.status_code == 405
        assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example.test"}, {"X-Forwarded-Host": "evil.example.test"}, {"Host": ""}, {"Authorization": "Bearer x"}])
def test_no_header_is_an_input(headers: dict[str, str]) -> None:
    assert ask("/livez", headers=headers).text == "live\n"


def test_the_processs_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def main() -> list[Any]:
        async with served() as client:
            await client.get("/livez")
            return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert asyncio.run(main())[1] == before[1]


def test_a_request_that_hangs_does_not_keep_the_warden() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        async def hang() -> str | None:
            await asyncio.Event().wait()
            return None

        async with served(hang) as client:
            asking = asyncio.create_task(client.get("/readyz", timeout=10))
            await asyncio.sleep(0.2)
            begun = loop.time()
        with suppress(httpx2.HTTPError):
            await asking
        return loop.time() - begun

    assert asyncio.run(main()) < 4


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n"])
def test_connections_that_say_nothing_keep_nobody_out(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_PATIENCE", 0.2)

    async def main() -> tuple[int, list[bytes]]:
        async with served() as client:
            port = client.base_url.port
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server_module.MOST_CONNECTIONS + 6)]
            for _, writer in silent:
                writer.write(said)
            ends = await asyncio.gather(*(reader.read() for reader, _ in silent))
            for _, writer in silent:
                writer.close()
            return (await client.get("/livez")).status_code, ends

    assert asyncio.run(main())[0] == 200

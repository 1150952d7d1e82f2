from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest

from scopeward.app import SystemClock
from scopeward.compile import Snapshot
from scopeward.envoy import node as node_module
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.node import Listen, Node, log_tail, require_free
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from tests.kit.compiling import Draft, compiled
from tests.kit.gateway import envoy, free_port

POLICY = """
version: 1
public_url: http://127.0.0.1:8080
issuers: {idp: {issuer: "https://idp.test/", audience: "api://a"}}
apis: {a: {at: /a, upstream: "http://127.0.0.1:9001", rules: {"GET /": {to: services}}}}
"""


def node(folder: Path, port: int, binary: EnvoyBinary | None = None) -> Node:
    return Node(StateDir(folder), binary or envoy(), Listen("127.0.0.1", port), SystemClock(), concurrency=1)


def snapshot_for(one: Node) -> Snapshot:
    return compiled(POLICY, edge=one.edge).snapshot


def refused(work: Callable[[], Coroutine[None, None, None]]) -> ScopewardError:
    with pytest.raises(ScopewardError) as error:
        asyncio.run(work())
    return error.value


def test_a_port_that_is_taken_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = node(tmp_path, taken.getsockname()[1])
        assert refused(lambda: one.start(snapshot_for(one))).reference.id == "port-in-use"
    assert not list((tmp_path / "xds").iterdir())


def test_a_port_of_another_envoy_is_refused_too(tmp_path: Path) -> None:
    async def two() -> None:
        first = node(tmp_path / "first", port := free_port())
        await first.start(snapshot_for(first))
        try:
            second = node(tmp_path / "second", port)
            await second.start(snapshot_for(second))
        finally:
            await first.stop()

    assert refused(two).reference.id == "port-in-use"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ScopewardError) as error:
        require_free(Listen("192.0.2.1", 8080))
    assert error.value.reference.id == "address-not-usable"


def test_a_snapshot_that_envoy_refuses_starts_nothing(tmp_path: Path) -> None:
    one = node(tmp_path, free_port())
    draft = Draft(snapshot_for(one))
    draft.clusters.clear()
    assert refused(lambda: one.start(draft.snapshot())).reference.id == "envoy-rejected"
    assert not list((tmp_path / "xds").iterdir())
    assert not (tmp_path / "in-force.json").exists()


def test_an_envoy_that_ends_at_once_is_told_with_what_it_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\necho '[x][1][critical][main] nothing works' >&2\nexit 3\n")
    program.chmod(0o700)

    async def passes(*_arguments: object) -> None:
        """As if it had validated."""

    monkeypatch.setattr(node_module, "validate", passes)
    one = node(tmp_path / "state", free_port(), replace(envoy(), path=program))
    error = refused(lambda: one.start(snapshot_for(one)))
    assert error.reference.id == "envoy-not-started"
    assert "nothing works" in error.what


def test_nothing_is_published_on_a_node_that_is_not_started(tmp_path: Path) -> None:
    one = node(tmp_path, free_port())
    with pytest.raises(RuntimeError):
        asyncio.run(one.publish(snapshot_for(one)))
    with pytest.raises(RuntimeError):
        asyncio.run(one.wait())
    with pytest.raises(RuntimeError):
        _ = one.pid


def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    async def life() -> int:
        one = node(tmp_path, free_port())
        await one.start(snapshot_for(one))
        pid = one.pid
        await one.stop()
        await one.stop()
        return pid

    pid = asyncio.run(life())
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()


def test_without_a_log_that_is_said(tmp_path: Path) -> None:
    assert log_tail(tmp_path) == "it left no log"

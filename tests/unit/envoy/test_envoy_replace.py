"""A second Envoy beside the first: no call is lost, and where it does not get ready, the first one stays as it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scopeward.compile.snapshot import Edge, Snapshot, TlsMaterial
from scopeward.envoy import incarnation as incarnation_module
from scopeward.envoy import node as node_module
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.process import identify
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.secret import Secret
from tests.kit.calls import call, calling
from tests.kit.gateway import envoy, free_port
from tests.kit.small import StoppedClock, building, revocations, small
from tests.kit.waiting import until


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def _kernel_hands_connections_on() -> bool:
    try:
        return Path("/proc/sys/net/ipv4/tcp_migrate_req").read_text().strip() == "1"
    except OSError:
        return False


MAY_BE_RESET = 0 if _kernel_hands_connections_on() else 1
"""A replacement. Where the kernel does not hand them on, it resets connections that nobody has accepted when a listener closes."""


@pytest.fixture(autouse=True)
def quick_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation_module, "DRAIN_TIME", 1)


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[Node, int]]:
    node = Node(StateDir(folder), envoy(), Place(Listen("127.0.0.1", free_port())), StoppedClock(), concurrency=1)
    try:
        await node.put(building())
        yield node, node.place.listen.port
    finally:
        await node.stop()


def certificate(name: str) -> TlsMaterial:
    """Signed by itself, good for an hour around now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return TlsMaterial(pem, Secret(key.private_bytes(serialization.Encoding.PEM, *form).decode()))


def folders(node: Node) -> set[str]:
    return {path.name for path in (node._state.root / "envoys").iterdir()}


def test_no_call_is_lost_on_kept_and_on_fresh_connections(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            async with calling(port) as tally:
                for says in ("two", "three"):
                    pid, count = node.pid, tally.count
                    await node.put(building(says, chain=says))
                    assert node.pid != pid
                    await until(lambda pid=pid: identify(pid) is None, 20)  # type: ignore[misc]
                    assert tally.count > count + 100
            assert tally.lost == []
            assert len(tally.unheard) <= MAY_BE_RESET * 2
            assert {status for status, _ in tally.answers} == {200}
            assert {says for _, says in tally.answers} == {"one", "two", "three"}
            assert folders(node) == {node.incarnation}
            assert await node.ready() is None

    run(life())


def test_when_put_returns_no_call_is_decided_by_what_was_before(tmp_path: Path) -> None:
    """The Envoy that leaves is told too: its callers do not have the old policy until they are gone."""

    async def life() -> None:
        async with started(tmp_path) as (node, port):
            async with calling(port) as tally:
                await until(lambda: tally.count > 20)
                await node.put(building("two", chain="-2", revoked=["t"]))
                tally.answers.clear()
                for _ in range(20):
                    assert (await call(port, headers="x-token: t\r\n"))[0] == 403
                await until(lambda: tally.count > 50)
            seen = set(tally.answers)
            assert (200, "two") in seen
            assert tally.answers[200, "one"] <= 6  # those that were on their way

    run(life())


def test_what_is_pushed_or_put_reaches_the_one_that_leaves(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port), calling(port, keeping=3, fresh=0):
            await node.put(building("two", chain="-2"))
            leaving = node._leaving
            assert leaving is not None
            assert node.snapshot is not None
            await node.push(["revoke-recent"], node.snapshot.with_extensions({"revoke-recent": revocations(["t"])}))
            for _ in range(16):  # the kernel spreads them over both
                assert (await call(port, headers="x-token: t\r\n"))[0] == 403
            await node.put(building("three", chain="-2", revoked=["t"]))
            assert leaving.snapshot is not None
            assert leaving.snapshot.policy_version == "policy-three"
            await node.refuse()
            for _ in range(16):
                assert (await call(port))[0] == 503

    run(life())


def test_another_certificate_is_shown_and_its_key_is_nobodys_to_read(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            for name in ("first.test", "second.test"):
                made = certificate(name)
                node.place = replace(node.place, tls=made)
                await node.put(building())
                await until(lambda: node._leaving is None, 20)  # it shares the port
                assert await node.ready() is None
                await until(lambda made=made: ssl.get_server_certificate(("127.0.0.1", port)) == made.certificate, 2)  # type: ignore[misc]
            assert "PRIVATE KEY" not in (tmp_path / "envoy.log").read_text()
            assert "PRIVATE KEY" not in (tmp_path / "run.json").read_text()
            listeners = Path(node.edge.xds) / "listeners" / "listeners.json"
            assert listeners.stat().st_mode & 0o077 == 0

    run(life())


def test_a_certificate_that_does_not_fit_its_key_leaves_the_one_before(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            pid = node.pid
            one, other = certificate("one.test"), certificate("other.test")
            node.place = replace(node.place, tls=TlsMaterial(one.certificate, other.private_key))
            with pytest.raises(ScopewardError) as error:
                await node.put(building())
            assert error.value.reference.id == "envoy-rejected"
            assert other.private_key.reveal().splitlines()[1] not in error.value.what
            assert node.pid == pid
            assert await call(port) == (200, "one")

    run(life())


def test_what_only_lets_proxies_connect_gets_ready_too(tmp_path: Path) -> None:
    """The rehearsal is on a unix socket, whose callers have no address."""

    def build(edge: Edge) -> Snapshot:
        snapshot = small(edge, "two", chain="-2")
        listener = dict(snapshot.listeners[0])
        match = {"filter_chain_match": {"direct_source_prefix_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]}}
        listener["filter_chains"] = [{**listener["filter_chains"][0], **match}]
        return replace(snapshot, listeners=(listener,))

    async def life() -> None:
        async with started(tmp_path) as (node, port):
            await node.put(build)
            assert await call(port) == (200, "two")
            assert not (Path(node.edge.xds).parent / "try.sock").exists()

    run(life())


def test_another_port_is_a_replacement_and_callers_of_the_old_one_end_in_peace(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, old):
            async with calling(old, keeping=2, fresh=0) as tally:
                await until(lambda: tally.count > 5)
            node.place = replace(node.place, listen=Listen("127.0.0.1", free_port()))
            await node.put(building("two"))
            assert await call(node.place.listen.port) == (200, "two")
            assert await node.ready() is None
            await until(lambda: node._leaving is None, 20)
            with pytest.raises(OSError, match="Connect call failed"):
                await call(old)

    run(life())


def test_another_port_that_is_taken_leaves_the_node_where_it_is(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path / "a") as (one, port), started(tmp_path / "b") as (_other, taken):
            pid = one.pid
            one.place = replace(one.place, listen=Listen("127.0.0.1", taken))
            with pytest.raises(ScopewardError) as error:
                await one.put(building("two"))
            assert error.value.reference.id == "port-in-use"
            assert one.pid == pid
            assert await call(port) == (200, "one")

    run(life())


def faulty(edge: Edge) -> Snapshot:
    """Its routes are refused by the running Envoy only, so that it starts, never has them, and would answer 404."""
    snapshot = small(edge, "two", chain="-2")
    return replace(snapshot, routes=({**snapshot.routes[0], "virtual_hosts": [{"name": "x", "domains": []}]},))


def test_one_that_does_not_get_ready_is_ended_and_the_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def passes(*_arguments: object) -> None:
        """As if it had validated."""

    monkeypatch.setattr(incarnation_module, "START_PATIENCE", 1.0)

    async def life() -> None:
        async with started(tmp_path) as (node, port):
            pid, name, recorded = node.pid, node.incarnation, (tmp_path / "run.json").read_text()
            async with calling(port) as tally:
                with monkeypatch.context() as patch:
                    patch.setattr(node_module, "validate", passes)
                    with pytest.raises(ScopewardError) as error:
                        await node.put(faulty)
                assert error.value.reference.id == "envoy-not-confirmed"
                assert (node.pid, node.incarnation) == (pid, name)
                assert (tmp_path / "run.json").read_text() == recorded
                assert folders(node) == {name}
                assert await node.ready() is None
                assert set(tally.answers) == {(200, "one")}
                await node.put(building("two", chain="-2"))
                assert node.pid != pid
                await until(lambda: node._leaving is None, 20)
            assert tally.lost == []

    run(life())


def test_one_that_is_refused_by_validation_is_not_started(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            pid = node.pid
            with pytest.raises(ScopewardError) as error:
                await node.put(faulty)
            assert error.value.reference.id == "envoy-rejected"
            assert (node.pid, folders(node)) == (pid, {node.incarnation})
            assert await call(port) == (200, "one")

    run(life())


def test_the_first_may_be_killed_while_it_leaves(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            old = node.pid
            async with calling(port, keeping=1, fresh=0):
                waiting = asyncio.create_task(node.wait())
                await asyncio.sleep(0)
                await node.put(building("two", chain="-2"))
                os.kill(old, signal.SIGKILL)
                await until(lambda: node._leaving is None, 20)
            await asyncio.sleep(0.05)
            assert not waiting.done()  # the one in charge runs
            assert folders(node) == {node.incarnation}
            assert await call(port) == (200, "two")
            waiting.cancel()

    run(life())


def test_the_second_may_be_killed_while_the_first_leaves(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            async with calling(port, keeping=1, fresh=0):
                await node.put(building("two", chain="-2"))
                os.kill(node.pid, signal.SIGKILL)
                await node.wait()
                await node.put(building("three", chain="-2"))
                await until(lambda: node._leaving is None, 20)
                assert await call(port) == (200, "three")
            assert folders(node) == {node.incarnation}

    run(life())


def test_both_are_stopped(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as (node, port):
            old = node.pid
            async with calling(port, keeping=1, fresh=0):
                await node.put(building("two", chain="-2"))
                new = node.pid
            await node.stop()
            assert identify(old) is None
            assert identify(new) is None
            assert not (tmp_path / "run.json").exists()
            assert folders(node) == set()

    run(life())

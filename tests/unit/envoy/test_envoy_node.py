"""A node's life: start, publish, push, refuse, end; and that whatever is refused leaves what was in force."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.compile.envoy.filters import jwt_authn
from scopeward.compile.snapshot import Edge, Snapshot, extension_file
from scopeward.envoy import node as node_module
from scopeward.envoy import publish as publish_module
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.incarnation import log_tail
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place, require_free
from scopeward.envoy.process import identify
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from tests.kit.calls import call, calling
from tests.kit.gateway import envoy, free_port
from tests.kit.small import StoppedClock, building, file_versions, revocations, small
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.waiting import until


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def made(folder: Path, port: int | None = None, binary: EnvoyBinary | None = None) -> Node:
    return Node(StateDir(folder), binary or envoy(), Place(Listen("127.0.0.1", port or free_port())), StoppedClock(), concurrency=1)


@contextlib.asynccontextmanager
async def started(folder: Path, **more: Any) -> AsyncIterator[Node]:
    node = made(folder)
    try:
        await node.put(building(**more))
        yield node
    finally:
        await node.stop()


def in_force(node: Node) -> dict[str, Any]:
    return node._state.read_json("in-force.json") or {}


def on_disk(node: Node) -> dict[str, str]:
    xds = Path(node.edge.xds)
    return {str(path.relative_to(xds)): path.read_text() for path in sorted(xds.rglob("*.json"))}


def changed_at(node: Node) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(node.edge.xds).rglob("*.json")}


def readable_by_others(folder: Path) -> list[str]:
    return [str(path) for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]


async def answer(node: Node, headers: str = "", path: str = "/") -> tuple[int, str]:
    return await call(node.place.listen.port, path, headers)


def refused(work: Coroutine[Any, Any, Any]) -> ScopewardError:
    with pytest.raises(ScopewardError) as error:
        run(work)
    return error.value


# ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_port_that_is_taken_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert refused(made(tmp_path, taken.getsockname()[1]).put(building())).reference.id == "port-in-use"
    assert not list((tmp_path / "envoys").iterdir())


def test_a_port_of_another_envoy_is_refused_too(tmp_path: Path) -> None:
    async def two() -> None:
        async with started(tmp_path / "first") as first:
            await made(tmp_path / "second", first.place.listen.port).put(building())

    assert refused(two()).reference.id == "port-in-use"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ScopewardError) as error:
        require_free(Listen("192.0.2.1", 8080))
    assert error.value.reference.id == "address-not-usable"


def test_a_snapshot_that_envoy_refuses_starts_nothing(tmp_path: Path) -> None:
    assert refused(made(tmp_path).put(building(keys='{"keys": [{"kty": "RSA"}]}'))).reference.id == "envoy-rejected"
    assert not list((tmp_path / "envoys").iterdir())
    assert not (tmp_path / "in-force.json").exists()
    assert not (tmp_path / "run.json").exists()


async def _validates(*_arguments: object) -> None:
    """As if Envoy's own validation had found nothing."""


def test_an_envoy_that_ends_at_once_is_told_with_what_it_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\necho '[x][1][critical][main] nothing works' >&2\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setattr(node_module, "validate", _validates)
    (tmp_path / "state").mkdir()
    StateDir(tmp_path / "state")
    (tmp_path / "state" / "envoy.log").write_text("[x][1][critical][main] of an earlier life\n")
    error = refused(made(tmp_path / "state", binary=replace(envoy(), path=program)).put(building()))
    assert error.reference.id == "envoy-not-started"
    assert "nothing works" in error.what
    assert not list((tmp_path / "state" / "envoys").iterdir())
    assert not (tmp_path / "state" / "run.json").exists()


def test_a_start_that_cannot_be_recorded_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    node = made(tmp_path / "state")
    (tmp_path / "state" / "run.json").mkdir()
    (tmp_path / "state" / "run.json" / "x").write_text("")
    assert refused(node.put(building())).reference.id == "state-unwritable"


def test_before_a_start_there_is_nothing(tmp_path: Path) -> None:
    node = made(tmp_path)
    assert (node.snapshot, node.record, node.runs, node.refusing) == (None, None, False, False)
    with pytest.raises(RuntimeError):
        _ = node.pid
    assert run(node.ready()) == "Envoy does not run"
    run(node.wait())
    error = refused(node.push(["revoke-recent"], small(node.edge)))
    assert error.reference.id == "envoy-not-confirmed"


def test_a_started_node_says_what_is_in_force(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            assert await node.ready() is None
            assert node.snapshot is not None
            wanted = {"policy_version": "policy-one", "snapshot": node.snapshot.version, "confirmed_at": StoppedClock().now()}
            assert in_force(node) == wanted | {"revocations": None, "refusing": False}
            node.note(revocations=7, more="x")
            await node.put(building("two"))
            assert in_force(node)["revocations"] == 7
            assert in_force(node)["more"] == "x"
            assert in_force(node)["policy_version"] == "policy-two"
            assert readable_by_others(tmp_path) == []
            assert node.audit_log == tmp_path / "audit" / f"{node.incarnation}.jsonl"
            assert node.record is not None
            assert node.record.pid == node.pid

    run(life())


def test_a_state_directory_with_a_long_path_works_and_leaves_no_socket_behind(tmp_path: Path) -> None:
    async def life() -> Path:
        async with started(tmp_path / ("d" * 110)) as node:
            assert await node.ready() is None
            assert node.record is not None
            return Path(node.record.admin)

    assert not run(life()).parent.exists()


# ── publish ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_snapshot_goes_to_the_same_envoy(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            pid = node.pid
            async with calling(node.place.listen.port) as tally:
                for says in ("two", "three"):
                    await node.put(building(says))
                    assert await answer(node) == (200, says)
            assert node.pid == pid
            assert tally.lost == []

    run(life())


def test_putting_what_is_in_force_writes_nothing(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            before = changed_at(node)
            await node.put(building())
            assert changed_at(node) == before

    run(life())


def test_the_token_check_is_not_written_where_it_did_not_change(tmp_path: Path) -> None:
    """Each push of it empties the cache of verified tokens."""

    async def life() -> None:
        async with started(tmp_path) as node:
            path = Path(node.edge.xds) / "extensions" / jwt_authn.FILTER / "filter.json"
            before = path.stat().st_ino
            await node.put(building("two", revoked=["t"], rules=["a", "b"]))
            assert path.stat().st_ino == before
            await node.put(building("two", keys=jwks(signing_key("k1"), signing_key("k2"))))
            assert path.stat().st_ino != before

    run(life())


def test_what_envoy_refuses_is_not_written(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            files, said = on_disk(node), in_force(node)
            with pytest.raises(ScopewardError) as error:
                await node.put(building("two", keys='{"keys": [{"kty": "RSA"}]}'))
            assert error.value.reference.id == "envoy-rejected"
            assert (on_disk(node), in_force(node)) == (files, said)
            assert await answer(node) == (200, "one")

    run(life())


def test_what_only_the_running_envoy_refuses_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> None:
        async with started(tmp_path, secrets={"old": PEM}) as node:
            files, said = on_disk(node), in_force(node)
            monkeypatch.setattr(node_module, "validate", _validates)
            broken = building("two", rules=["z"], secrets={"new": PEM}, keys=jwks()[:-1] + ', "x": 1}')

            def build(edge: Edge) -> Snapshot:
                snapshot = broken(edge)
                routes = ({**snapshot.routes[0], "virtual_hosts": [{"name": "x", "domains": []}]},)
                return replace(snapshot, routes=routes)

            with pytest.raises(ScopewardError) as error:
                await node.put(build)
            assert error.value.reference.id == "envoy-not-confirmed"
            assert "rejected http.edge.rds.routes" in error.value.what
            assert {path for path in files | on_disk(node) if files.get(path) != on_disk(node).get(path)} == set()
            assert in_force(node) == said
            assert await answer(node) == (200, "one")
            assert await node.ready() is None
            await node.put(building("two"))
            assert await answer(node) == (200, "two")

    run(life())


PEM = Path(__file__).with_name("authority.pem").read_text()


def test_secrets_come_before_what_uses_them_and_leave_the_disk_after_it(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            await node.put(building("two", secrets={"up": PEM}))
            stats = await node._running()[0].admin.stats()
            assert node.snapshot is not None
            assert stats["sds.up.version_text"].strip('"') == file_versions(node.snapshot)["secrets/up/secret.json"]
            await node.put(building("two", secrets={"up": PEM + PEM}))
            stats = await node._running()[0].admin.stats()
            assert stats["sds.up.version_text"].strip('"') == file_versions(node.snapshot)["secrets/up/secret.json"]
            assert (Path(node.edge.xds) / "secrets" / "up").exists()
            await node.put(building("two"))
            assert not (Path(node.edge.xds) / "secrets" / "up").exists()

    run(life())


def test_withdrawn_keys_go_first_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = signing_key("k1"), signing_key("k2")
    token = f"authorization: Bearer {Mint(key=old).token(iss='https://idp.test/')}\r\n"
    written: list[list[str]] = []
    write = publish_module.Publisher._write

    async def noted(self: publish_module.Publisher, files: Any) -> dict[str, str]:
        changed = await write(self, files)
        if changed:
            written.append(sorted(changed))
        return changed

    async def life() -> None:
        async with started(tmp_path, keys=jwks(old, new)) as node:
            assert (await answer(node, token, "/guarded"))[0] == 200
            monkeypatch.setattr(publish_module.Publisher, "_write", noted)
            await node.put(building("two", rules=["b"], keys=jwks(new)))
            assert (await answer(node, token, "/guarded"))[0] == 401  # it was verified before, and is forgotten
            assert written[0] == [f"extensions/{jwt_authn.FILTER}/filter.json"]
            assert len(written) > 1

    run(life())


def test_withdrawn_keys_stay_withdrawn_where_the_rest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = signing_key("k1"), signing_key("k2")
    token = f"authorization: Bearer {Mint(key=old).token(iss='https://idp.test/')}\r\n"

    def build(edge: Edge) -> Snapshot:
        snapshot = small(edge, "two", keys=jwks(new))
        return replace(snapshot, routes=({**snapshot.routes[0], "virtual_hosts": [{"name": "x", "domains": []}]},))

    async def life() -> None:
        async with started(tmp_path, keys=jwks(old, new)) as node:
            monkeypatch.setattr(node_module, "validate", _validates)
            with pytest.raises(ScopewardError):
                await node.put(build)
            assert (await answer(node, token, "/guarded"))[0] == 401
            assert await answer(node) == (200, "one")
            assert await node.ready() is None
            assert node.snapshot is not None
            assert in_force(node)["snapshot"] == node.snapshot.version

    run(life())


# ── push ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pushed_table_is_in_force_when_push_returns(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            assert node.snapshot is not None
            assert (await answer(node, "x-token: t7\r\n"))[0] == 200
            pushed = node.snapshot.with_extensions({"revoke-recent": revocations(f"t{n}" for n in range(200))})
            begun = asyncio.get_running_loop().time()
            await node.push(["revoke-recent"], pushed)
            took = asyncio.get_running_loop().time() - begun
            assert (await answer(node, "x-token: t7\r\n"))[0] == 403
            assert took < 0.5  # a few milliseconds on a machine that is not busy
            assert node.snapshot is pushed
            assert in_force(node)["snapshot"] == pushed.version
            assert await node.ready() is None

    run(life())


def test_a_large_table_does_not_keep_the_warden_from_other_work(tmp_path: Path) -> None:
    """17 MB: writing them takes a disk long enough to be noticed."""

    async def life() -> None:
        async with started(tmp_path) as node:
            assert node.snapshot is not None
            resource = revocations(f"token-{n:030}" for n in range(50_000))
            pushed = node.snapshot.with_written("revoke-recent", resource, extension_file("revoke-recent", resource))
            longest, last = 0.0, asyncio.get_running_loop().time()
            pushing = asyncio.create_task(node.push(["revoke-recent"], pushed))
            while not pushing.done():
                await asyncio.sleep(0.001)
                now = asyncio.get_running_loop().time()
                longest, last = max(longest, now - last), now
            await pushing
            assert (await answer(node, f"x-token: token-{7:030}\r\n"))[0] == 403
            assert longest < 0.5

    run(life())


def test_a_push_puts_nothing_else_of_the_snapshot_in_force(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            await node.push(["revoke-recent"], small(node.edge, "two", revoked=["t"]))
            assert await answer(node) == (200, "one")
            assert (await answer(node, "x-token: t\r\n"))[0] == 403
            assert await node.ready() is None

    run(life())


def test_a_push_that_envoy_refuses_leaves_what_was_in_force(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path, revoked=["t"]) as node:
            files = on_disk(node)
            assert node.snapshot is not None
            with pytest.raises(ScopewardError) as error:
                await node.push(["revoke-recent"], node.snapshot.with_extensions({"revoke-recent": {"@type": "type.googleapis.com/envoy.type.v3.Percent"}}))
            assert error.value.reference.id == "envoy-not-confirmed"
            assert on_disk(node) == files
            assert (await answer(node, "x-token: t\r\n"))[0] == 403
            assert await node.ready() is None
            with pytest.raises(KeyError):
                await node.push(["nothing"], node.snapshot)

    run(life())


def test_what_is_pushed_while_a_policy_is_being_put_is_not_undone_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            validating, go_on = asyncio.Event(), asyncio.Event()

            async def slow(*_arguments: object) -> None:
                validating.set()
                await go_on.wait()

            monkeypatch.setattr(node_module, "validate", slow)
            putting = asyncio.create_task(node.put(building("two")))
            await validating.wait()
            assert node.snapshot is not None
            await node.push(["revoke-recent"], node.snapshot.with_extensions({"revoke-recent": revocations(["t"])}))
            go_on.set()
            put = await putting
            assert await answer(node) == (200, "two")
            assert (await answer(node, "x-token: t\r\n"))[0] == 403
            assert put is node.snapshot

    run(life())


# ── refuse ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_calls_are_refused_and_let_in_again(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            for _ in range(2):
                await node.refuse()
                await node.refuse()
                assert (await answer(node))[0] == 503
                assert node.refusing
                assert in_force(node)["refusing"] is True
                assert await node.ready() == "all calls are refused, because they cannot be recorded"
                await node.readmit()
                assert await answer(node) == (200, "one")
                assert in_force(node)["refusing"] is False
                assert await node.ready() is None

    run(life())


def test_what_is_put_while_calls_are_refused_lets_none_in(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            await node.refuse()
            await node.put(building("two", rules=["b"]))
            assert node.snapshot is not None
            await node.push(["decide"], node.snapshot)
            assert (await answer(node))[0] == 503
            await node.readmit()
            assert await answer(node) == (200, "two")
            assert await node.ready() is None

    run(life())


def test_refusing_needs_no_space_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: StateDir, name: str, _text: str) -> None:
        raise ScopewardError("state-unwritable", f"{name}: No space left on device")

    async def life() -> None:
        async with started(tmp_path) as node:
            with monkeypatch.context() as patch:
                patch.setattr(StateDir, "write", full)
                await node.refuse()
                assert (await answer(node))[0] == 503
                with pytest.raises(ScopewardError):
                    await node.readmit()
                with pytest.raises(ScopewardError):
                    await node.put(building("two"))
                assert (await answer(node))[0] == 503
                assert node.refusing
            await node.readmit()
            assert await answer(node) == (200, "one")

    run(life())


def test_an_envoy_that_starts_while_calls_are_refused_refuses_them(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            await node.refuse()
            os.kill(node.pid, signal.SIGKILL)
            await node.wait()
            await node.put(building("one"))
            assert (await answer(node))[0] == 503
            await node.readmit()
            assert await answer(node) == (200, "one")

    run(life())


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_envoy_that_is_killed_is_noticed_and_started_again(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            pid, first = node.pid, node.incarnation
            ending = asyncio.create_task(node.wait())
            await asyncio.sleep(0)
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(ending, 5)
            assert not node.runs
            assert await node.ready() == "Envoy does not run"
            with pytest.raises(ScopewardError):
                await node.push(["decide"], small(node.edge))
            await node.put(building("two"))
            assert await answer(node) == (200, "two")
            assert (node.pid, node.incarnation) != (pid, first)
            assert [p.name for p in (tmp_path / "envoys").iterdir()] == [node.incarnation]

    run(life())


def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            waiting = asyncio.create_task(node.wait())
            await asyncio.sleep(0)
            pid = node.pid
            await node.stop()
            await node.stop()
            await asyncio.wait_for(waiting, 5)
            assert identify(pid) is None
            assert not (tmp_path / "run.json").exists()
            assert not list((tmp_path / "envoys").iterdir())

    run(life())


def test_an_envoy_that_does_not_listen_is_ended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scopeward.envoy import incarnation  # noqa: PLC0415

    monkeypatch.setattr(incarnation, "STOP_PATIENCE", 0.3)

    async def life() -> None:
        async with started(tmp_path) as node:
            os.kill(node.pid, signal.SIGSTOP)

    run(life())


def test_a_drain_waits_for_the_calls_that_are_under_way(tmp_path: Path) -> None:
    async def life() -> None:
        async with started(tmp_path) as node:
            async with calling(node.place.listen.port, keeping=1, fresh=0) as tally:
                await until(lambda: tally.count > 3)
            begun = asyncio.get_running_loop().time()
            await node.stop(drain=20)
            assert asyncio.get_running_loop().time() - begun < 5  # nobody is there to wait for
            assert tally.lost == []

    run(life())


def test_without_a_log_that_is_said(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "envoy.log") == "it left no log"

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from scopeward.envoy.bootstrap import bootstrap
from scopeward.envoy.limits import MOST_CONNECTIONS, MOST_HEAP, default_heap, most_connections


def limit(tmp_path: Path, text: str) -> tuple[str, ...]:
    (tmp_path / "memory.max").write_text(text)
    return (str(tmp_path / "memory.max"), str(tmp_path / "not there"))


def test_half_of_what_a_container_may_use(tmp_path: Path) -> None:
    assert default_heap(limit(tmp_path, f"{512 << 20}\n")) == 256 << 20


@pytest.mark.parametrize("text", ["max\n", "", "-1", "many", f"{1 << 62}"])
def test_no_limit_leaves_the_machines_memory(tmp_path: Path, text: str) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert default_heap(limit(tmp_path, text)) == min(MOST_HEAP, machine // 2)


@pytest.mark.parametrize(("files", "connections"), [(1024, 819), (25_000, 20_000), (1_000_000, MOST_CONNECTIONS), (resource.RLIM_INFINITY, MOST_CONNECTIONS)])
def test_connections_leave_files_for_upstreams(monkeypatch: pytest.MonkeyPatch, files: int, connections: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, files))
    assert most_connections() == connections


def test_the_bootstrap_says_the_limits(tmp_path: Path) -> None:
    said = bootstrap("n", tmp_path / "xds", tmp_path / "admin.sock", heap=1 << 20, connections=7)["overload_manager"]
    heap, connections = (monitor["typed_config"] for monitor in said["resource_monitors"])
    assert heap["max_heap_size_bytes"] == "1048576"
    assert connections["max_active_downstream_connections"] == "7"
    thresholds = {a["name"].rsplit(".", 1)[1]: a["triggers"][0].get("threshold", {}).get("value") for a in said["actions"]}
    assert thresholds == {"shrink_heap": 0.9, "disable_http_keepalive": 0.92, "stop_accepting_requests": 0.95, "reset_high_memory_stream": None}

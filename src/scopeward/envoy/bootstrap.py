"""What Envoy starts with: where its files are, and the few settings that no file xDS carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from scopeward.compile.envoy.proto import file_source, typed

RUNTIME: Final = {
    # a rule that names many callers makes a long pattern; RE2 matches it in linear time all the same
    "re2.max_program_size.error_level": 100_000,
    "re2.max_program_size.warn_level": 100_000,
    # A connection whose streams are mostly reset within a second is ended after 500 of them (rapid reset, CVE-2023-44487),
    "overload.premature_reset_total_stream_count": 500,
    "overload.premature_reset_min_stream_lifetime_seconds": 1,
    # and one connection may not keep a worker from the others with all that it can send at a time.
    "http.max_requests_per_io_cycle": 10,
}

# Every statistic costs each call a little. These are what publishing reads back, what draining waits for, and what tells of trouble;
# the calls themselves are in the audit log.
STATISTICS: Final = (
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "server."},
    {"prefix": "sds."},
    {"prefix": "filesystem."},
    {"prefix": "overload."},
    {"contains": ".rds."},
    {"contains": "extension_config_discovery"},
    {"exact": "http.edge.downstream_cx_active"},
    {"exact": "http.edge.downstream_rq_active"},
    {"exact": "http.edge.downstream_rq_too_many_premature_resets"},
)

HEAP: Final = "envoy.resource_monitors.fixed_heap"
CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(node: str, xds: Path, admin_socket: Path, heap: int, connections: int, concurrency: int | None = None) -> dict[str, Any]:
    """The bootstrap of a node. ``heap`` in bytes; ``connections`` of callers, at a time.

    ``concurrency`` is an argument of Envoy's and stands here so that another number makes another bootstrap, for which Envoy is replaced.
    """
    return {
        "node": {"id": node, "cluster": "scopeward", "metadata": {"concurrency": concurrency}},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": file_source(str(xds / "listeners"), "listeners.json"),
            "cds_config": file_source(str(xds / "clusters"), "clusters.json"),
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(STATISTICS)}}},
        "layered_runtime": layered_runtime(),
        "overload_manager": overload_manager(heap, connections),
    }


def layered_runtime() -> dict[str, Any]:
    """The runtime settings, for the real start and for validation alike."""
    return {"layers": [{"name": "scopeward", "static_layer": RUNTIME}]}


def overload_manager(heap: int, connections: int) -> dict[str, Any]:
    """What gives way first when memory runs out: free pages, the largest streams, kept connections; at last calls are refused."""
    monitors = [
        (HEAP, typed("envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=str(heap))),
        (
            CONNECTIONS,
            typed(
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=str(connections),
            ),
        ),
    ]
    return {
        "refresh_interval": "0.25s",
        # streams that hold a mebibyte or more in buffers are counted, by powers of two
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [{"name": name, "typed_config": config} for name, config in monitors],
        "actions": [
            _action("shrink_heap", threshold={"value": 0.90}),
            _action("disable_http_keepalive", threshold={"value": 0.92}),
            _action("stop_accepting_requests", threshold={"value": 0.95}),
            _action("reset_high_memory_stream", scaled={"scaling_threshold": 0.85, "saturation_threshold": 0.95}),
        ],
    }


def _action(name: str, **trigger: Any) -> dict[str, Any]:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": HEAP, **trigger}]}

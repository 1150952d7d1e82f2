"""Statuses of nodes that do not run."""

from __future__ import annotations

from scopeward.audit.tally import ApiCounts, Counts
from scopeward.status.node_status import (
    Alarm,
    CertificateStatus,
    DiskStatus,
    EnvoyStatus,
    IssuerStatus,
    NodeStatus,
    ObservedStatus,
    PolicyStatus,
    RevocationStatus,
    UpstreamStatus,
    WardenStatus,
)

NOW = 1_795_513_264.0
"""2026-11-24T09:41:04Z."""

DAY = 86_400.0


def quiet_status(now: float = NOW) -> NodeStatus:
    """A node on which all is well and no call was made."""
    return NodeStatus(
        taken_at=now,
        node="node-ace81327",
        warden=WardenStatus(101, "0.1.0", now - 7500),
        envoy=EnvoyStatus(102, "1.40.0", "20261124T073600Z-a1b2c3", now - 7490),
        policy=PolicyStatus("/etc/scopeward/scopeward.yaml", "403c7d2d85d8", None, now - 3600, confirmed=True),
        issuers=(IssuerStatus("dev", "https://login.example.test", ("k1", "k2"), now - 12, now + DAY, "provider", clock_difference=0.0),),
        upstreams=(UpstreamStatus("orders", "https://orders.example.test"),),
        disk=DiskStatus(free_bytes=12 * 1024**3),
    )


STATUS_OF_A_NODE = NodeStatus(
    taken_at=NOW,
    node="node-ace81327",
    warden=WardenStatus(101, "0.1.0", NOW - 7500),
    envoy=EnvoyStatus(102, "1.40.0", "20261124T073600Z-a1b2c3", NOW - 7490),
    policy=PolicyStatus("/etc/scopeward/scopeward.yaml", "403c7d2d85d8", "0" * 64, NOW - 3600, confirmed=False, why_not="routes: rejected"),
    calls=Counts(
        120,
        100,
        20,
        1,
        {"scope-missing": 15, "token-expired": 5},
        {"-": ApiCounts(0, 5), "orders": ApiCounts(100, 15, {"upstream-timeout": 3, "upstream-unavailable": 1})},
    ),
    last_minute=Counts(6, 4, 2, 0, {"scope-missing": 2}, {"orders": ApiCounts(4, 2, {"upstream-timeout": 1})}),
    issuers=(
        IssuerStatus("dev", "https://login.example.test", ("k1", "k2"), NOW - 12, NOW + DAY, "provider", clock_difference=1.0),
        IssuerStatus("old", "https://old.example.test", ("k3",), NOW - DAY, NOW - 60, "disk", NOW - 600, "idp-unreachable: no route", -30.0),
    ),
    upstreams=(UpstreamStatus("orders", "https://orders.example.test"), UpstreamStatus("stock", "https://stock.example.test")),
    certificates=(CertificateStatus("callers", "/etc/scopeward/tls.pem", NOW + 3 * DAY),),
    revocations=RevocationStatus(7, 9, 8),
    observed=(ObservedStatus("stock", NOW + DAY),),
    disk=DiskStatus("full", "20 MiB are free", 20 * 1024**2, refusing=True),
    alarms=(Alarm(NOW - 90, "state-damaged", "the copy of the keys of 'old' is cut off"),),
)
"""A node on which nothing is left empty, and much is wrong."""

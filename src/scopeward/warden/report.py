"""What a warden says of its node."""

from __future__ import annotations

import os
import time
from importlib.metadata import version

from scopeward.audit.guard import free_space
from scopeward.status.node_status import (
    Alarm,
    CertificateStatus,
    DiskStatus,
    EnvoyStatus,
    IssuerStatus,
    NodeStatus,
    PolicyStatus,
    RevocationStatus,
    UpstreamStatus,
    WardenStatus,
)
from scopeward.warden.warden import Warden

STARTED_AT = time.time()
"""When this process began."""


async def report(warden: Warden) -> NodeStatus:
    """The status as it is now."""
    now = warden.parts.clock.now()
    free, _ = free_space(warden.parts.state.root)
    guard = warden.guard
    return NodeStatus(
        taken_at=now,
        node=warden.parts.state.node,
        warden=WardenStatus(os.getpid(), version("scopeward"), STARTED_AT),
        envoy=_envoy(warden),
        policy=await _policy(warden),
        calls=warden.tally.since_start(),
        last_minute=warden.tally.last_minute(time.monotonic()),
        issuers=_issuers(warden),
        upstreams=tuple(UpstreamStatus(api.name, api.upstream.url) for api in warden.in_force.loaded.policy.apis) if warden.in_force else (),
        certificates=_certificates(warden),
        revocations=_revocations(warden),
        disk=DiskStatus(guard.verdict, guard.why, free, warden.node.refusing, guard.failures or 0),
        alarms=tuple(Alarm(since, error.reference.id, f"{concern}: {error.what}") for concern, (since, error) in sorted(warden.alarms.items())),
    )


def _envoy(warden: Warden) -> EnvoyStatus | None:
    record = warden.node.record
    if record is None or not warden.node.runs:
        return None
    return EnvoyStatus(record.pid, record.version, record.incarnation, warden.node.started_at or warden.parts.clock.now())


async def _policy(warden: Warden) -> PolicyStatus:
    in_force, snapshot = warden.in_force, warden.node.snapshot
    if in_force is None:
        return PolicyStatus("")
    why_not = await warden.node.confirmed()
    said = warden.node.confirmed_at
    policy_version = snapshot.policy_version if snapshot else None
    environment = in_force.loaded.policy.environment
    return PolicyStatus(str(in_force.path), policy_version, in_force.sha256, said, confirmed=why_not is None, why_not=why_not, environment=environment)


def _issuers(warden: Warden) -> tuple[IssuerStatus, ...]:
    return tuple(
        IssuerStatus(
            name=known.name,
            issuer=known.issuer,
            key_ids=known.key_ids,
            fetched_at=known.fetched_at,
            good_until=known.good_until,
            source=known.source,
            failing_since=known.failing_since,
            failure=f"{known.failure.reference}: {known.failure.what}" if known.failure else None,
            clock_difference=known.clock_difference,
        )
        for known in warden.keys.standing()
    )


def _certificates(warden: Warden) -> tuple[CertificateStatus, ...]:
    if warden.certificates is None:
        return ()
    return tuple(CertificateStatus(expiry.what, str(expiry.path), expiry.expires_at) for expiry in warden.certificates.loaded.expiries)


def _revocations(warden: Warden) -> RevocationStatus:
    known = warden.parts.revocations.tables
    tables = warden.tables
    return RevocationStatus(len(tables.recent) + len(tables.settled), known.sequence if known else 0, tables.sequence)

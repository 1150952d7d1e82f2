"""What of a node needs somebody's attention. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from scopeward.status.look import Seen
from scopeward.status.node_status import CertificateStatus, IssuerStatus, NodeStatus
from scopeward.status.words import counted, duration

OLD: Final = 10.0
"""Seconds after which a status that is written every two is one that nobody writes any more."""
CLOCK_DIFFERENCE: Final = 10.0
"""Seconds between two clocks that are worth telling; tokens of so much in the future begin to be refused."""
EXPIRES_SOON: Final = 7 * 86_400.0
"""Seconds before a certificate's end at which somebody should know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at. ``urgent`` is what must not stay so; the rest is worth knowing."""

    words: str
    urgent: bool = True


def findings(seen: Seen) -> tuple[Finding, ...]:
    """All of it, what matters most first. Empty where all is well."""
    found = list(_processes(seen))
    if seen.status is not None:
        found += [finding for look in LOOKS for finding in look(seen.status, seen)]
    return tuple(sorted(found, key=lambda finding: not finding.urgent))


def _processes(seen: Seen) -> Iterator[Finding]:
    status = seen.status
    if seen.damaged:
        yield Finding("the file 'status.json' cannot be read; a running warden writes it anew within seconds")
    if not seen.warden_lives:
        gone = f"has been gone for {duration(seen.now - status.taken_at)}" if status else "is gone"
        yield Finding(f"the warden {gone}; Envoy answers calls by itself, with the policy, keys and revocations of then: start 'scopeward run' again")
    elif status is None and not seen.damaged:
        yield Finding("the warden is starting: it has written no status yet")
    elif status is not None and seen.now - status.taken_at > OLD:
        yield Finding(f"the warden has written no status for {duration(seen.now - status.taken_at)}: it hangs, or the disk is full")
    if seen.warden_lives and not seen.envoy_lives:
        yield Finding("Envoy does not run: no call is answered; the warden starts it again")


def _policy(status: NodeStatus, seen: Seen) -> Iterator[Finding]:
    policy = status.policy
    if not policy.confirmed:
        yield Finding(f"the policy is not confirmed by Envoy: {policy.why_not or 'it has not answered yet'}")
    if seen.policy_file == "differs":
        yield Finding(f"the file '{policy.path}' differs from what is in force: 'scopeward check' says whether it could be applied")
    if seen.policy_file == "unreadable":
        yield Finding(f"the file '{policy.path}' cannot be read; what was in force stays")


def _issuers(status: NodeStatus, seen: Seen) -> Iterator[Finding]:
    for issuer in status.issuers:
        if issuer.good_until is not None and issuer.good_until <= seen.now:
            yield Finding(f"issuer {issuer.name}: its keys are too old, its tokens are refused with issuer-keys-stale")
        if issuer.failing_since is not None:
            yield Finding(_failing(issuer, issuer.failing_since, seen.now))
        if issuer.clock_difference is not None and abs(issuer.clock_difference) >= CLOCK_DIFFERENCE:
            ahead = "ahead of" if issuer.clock_difference > 0 else "behind"
            yield Finding(f"issuer {issuer.name}: its clock is {duration(abs(issuer.clock_difference))} {ahead} ours")


def _failing(issuer: IssuerStatus, since: float, now: float) -> str:
    still = "" if issuer.good_until is None or issuer.good_until <= now else f"; the last keys are good for {duration(issuer.good_until - now)} more"
    return f"issuer {issuer.name}: no keys could be read for {duration(now - since)}: {issuer.failure or 'no cause is known'}{still}"


def _upstreams(status: NodeStatus, _seen: Seen) -> Iterator[Finding]:
    for api, counts in status.last_minute.apis.items():
        failed = sum(counts.failures.values())
        if failed:
            how = ", ".join(f"{reference} {number}" for reference, number in counts.failures.items())
            words = f"API {api}: the upstream left {failed} of {counted(counts.allowed, 'call')} in the last minute unanswered: {how}"
            yield Finding(words, urgent=failed == counts.allowed)


def _certificates(status: NodeStatus, seen: Seen) -> Iterator[Finding]:
    for certificate in status.certificates:
        if certificate.expires_at - seen.now < EXPIRES_SOON:
            yield Finding(_expiring(certificate, certificate.expires_at - seen.now))


def _expiring(certificate: CertificateStatus, left: float) -> str:
    when = f"expires in {duration(left)}" if left > 0 else f"expired {duration(-left)} ago"
    return f"the certificate for {certificate.what} {when}: {certificate.path}"


def _revocations(status: NodeStatus, _seen: Seen) -> Iterator[Finding]:
    behind = status.revocations.sequence - status.revocations.in_force
    if behind > 0:
        yield Finding(f"{counted(behind, 'change')} of the revocations {'is' if behind == 1 else 'are'} stored and not in force yet")


def _disk(status: NodeStatus, _seen: Seen) -> Iterator[Finding]:
    disk = status.disk
    if disk.verdict == "full":
        calls = "calls are refused with audit-unavailable" if disk.refusing else "calls go on, and may leave no audit line"
        yield Finding(f"the disk is full ({disk.why}): {calls}; free some space")
    if disk.verdict == "low":
        yield Finding(f"the disk is almost full ({disk.why}): free some space")


def _alarms(status: NodeStatus, seen: Seen) -> Iterator[Finding]:
    for alarm in status.alarms:
        yield Finding(f"{alarm.reference}, for {duration(seen.now - alarm.since)}: {alarm.words}")


def _unreadable(status: NodeStatus, _seen: Seen) -> Iterator[Finding]:
    if status.last_minute.unreadable:
        yield Finding(f"{counted(status.last_minute.unreadable, 'audit line')} of the last minute cannot be read", urgent=False)


LOOKS: Final[tuple[Callable[[NodeStatus, Seen], Iterator[Finding]], ...]] = (
    _disk,
    _policy,
    _alarms,
    _issuers,
    _certificates,
    _revocations,
    _upstreams,
    _unreadable,
)

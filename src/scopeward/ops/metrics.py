"""The status as Prometheus metrics. Every series is described in docs/metrics.md.

Labels come from the policy, from the settings and from our own lists of references; none holds anything that a caller chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scopeward.audit.guard import DiskVerdict
from scopeward.status.node_status import NodeStatus

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_Values = Iterator[tuple[tuple[str, ...], float]]
"""The values of a series by its labels' values."""


class _StatusCollector(Collector):
    def __init__(self, status: Callable[[], NodeStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        for part in SERIES:
            yield from part(status)


def exposition(status: Callable[[], NodeStatus]) -> Callable[[], bytes]:
    """What gives the metrics of the status at that moment, in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)  # the library's own registry would add what it knows of this process
    registry.register(_StatusCollector(status))
    return lambda: generate_latest(registry)


def _gauge(name: str, help: str, labels: tuple[str, ...], values: _Values) -> Metric:
    family = GaugeMetricFamily(f"scopeward_{name}", help, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _counter(name: str, help: str, labels: tuple[str, ...], values: _Values) -> Metric:
    """The library ends the name with ``_total``."""
    family = CounterMetricFamily(f"scopeward_{name}", help, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _known(value: float | None) -> _Values:
    """One value without labels, or no series where it is not known."""
    if value is not None:
        yield (), value


def _processes(status: NodeStatus) -> Iterator[Metric]:
    warden, envoy = status.warden, status.envoy
    yield _gauge("build_info", "Always 1.", ("version", "envoy_version"), iter([((warden.version, envoy.version if envoy else ""), 1.0)]))
    yield _gauge("warden_start_time_seconds", "When the warden started.", (), _known(warden.started_at))
    yield _gauge("envoy_up", "Whether Envoy runs.", (), _known(float(envoy is not None)))
    yield _gauge("envoy_start_time_seconds", "When Envoy started.", (), _known(envoy.started_at if envoy else None))


def _policy(status: NodeStatus) -> Iterator[Metric]:
    policy = status.policy
    yield _gauge("policy_info", "The policy in force; always 1.", ("policy_version",), iter([((policy.version or "",), 1.0)]))
    yield _gauge("policy_confirmed", "Whether Envoy confirmed what should be in force.", (), _known(float(policy.confirmed)))
    yield _gauge("policy_confirmed_time_seconds", "When Envoy confirmed the policy in force.", (), _known(policy.confirmed_at))


def _calls(status: NodeStatus) -> Iterator[Metric]:
    calls = status.calls
    verdicts = ((api, verdict, getattr(counts, verdict)) for api, counts in calls.apis.items() for verdict in ("allowed", "refused"))
    failures = ((api, reference, number) for api, counts in calls.apis.items() for reference, number in counts.failures.items())
    yield _counter("calls", "Calls by API and verdict.", ("api", "verdict"), (((api, verdict), number) for api, verdict, number in verdicts))
    yield _counter("refusals", "Refused calls by reference.", ("reference",), (((reference,), number) for reference, number in calls.refusals.items()))
    yield _counter(
        "upstream_failures",
        "Calls that were let through and that the upstream left unanswered.",
        ("api", "reference"),
        (((api, reference), number) for api, reference, number in failures),
    )
    yield _counter("audit_lines_unreadable", "Lines in the audit files that are no audit lines.", (), _known(calls.unreadable))


def _issuers(status: NodeStatus) -> Iterator[Metric]:
    issuers = status.issuers
    yield _gauge("issuer_keys", "Usable keys of the issuer.", ("issuer",), (((i.name,), len(i.key_ids)) for i in issuers))
    yield _gauge(
        "issuer_keys_fetched_time_seconds",
        "When the issuer's keys were read last.",
        ("issuer",),
        (((i.name,), i.fetched_at) for i in issuers if i.fetched_at is not None),
    )
    yield _gauge(
        "issuer_keys_good_until_time_seconds",
        "When the issuer's keys are too old to be believed.",
        ("issuer",),
        (((i.name,), i.good_until) for i in issuers if i.good_until is not None),
    )
    yield _gauge(
        "issuer_failing", "Whether the last look at the issuer brought no keys.", ("issuer",), (((i.name,), i.failing_since is not None) for i in issuers)
    )
    yield _gauge(
        "issuer_clock_difference_seconds",
        "The issuer's clock minus the gateway's.",
        ("issuer",),
        (((i.name,), i.clock_difference) for i in issuers if i.clock_difference is not None),
    )


def _state(status: NodeStatus) -> Iterator[Metric]:
    revocations, disk = status.revocations, status.disk
    expiries = (((c.what,), c.expires_at) for c in status.certificates)
    yield _gauge("certificate_expiry_time_seconds", "When the certificate expires.", ("certificate",), expiries)
    yield _gauge("revocations", "Revocations that stand.", (), _known(revocations.count))
    yield _gauge("revocation_changes_pending", "Changes that are stored and not in force yet.", (), _known(revocations.sequence - revocations.in_force))
    yield _gauge("disk_free_bytes", "Free bytes on the disk of the audit files.", (), _known(disk.free_bytes))
    verdicts = (((verdict,), verdict == disk.verdict) for verdict in get_args(DiskVerdict))
    yield _gauge("disk_state", "1 for the state that the disk is in.", ("state",), verdicts)
    yield _gauge("audit_refusing", "Whether calls are refused because they could not be recorded.", (), _known(float(disk.refusing)))
    failures = "Writes of audit lines that failed since this Envoy started; each may have held several lines."
    yield _counter("audit_write_failures", failures, (), _known(float(disk.write_failures)))
    counts: dict[str, int] = {}
    for alarm in status.alarms:
        counts[alarm.reference] = counts.get(alarm.reference, 0) + 1
    yield _gauge("alarms", "What needs somebody's attention.", ("reference",), (((reference,), number) for reference, number in counts.items()))


SERIES: Final[tuple[Callable[[NodeStatus], Iterator[Metric]], ...]] = (_processes, _policy, _calls, _issuers, _state)

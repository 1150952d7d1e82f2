"""The metrics: right, bounded, and each of them documented."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from scopeward.audit.tally import ApiCounts, Counts
from scopeward.ops.metrics import exposition
from scopeward.status.node_status import NodeStatus, PolicyStatus
from tests.kit.status import NOW, STATUS_OF_A_NODE, quiet_status

PAGE = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
ROWS = {name: (kind, labels) for name, kind, labels in re.findall(r"^\| `(scopeward_\w+)` \| (\w+) \| ([^|]*) \|", PAGE, re.MULTILINE)}


def samples(status: NodeStatus) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = exposition(lambda: status)().decode()
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in text_string_to_metric_families(text) for s in family.samples}


def value(status: NodeStatus, name: str, **labels: str) -> float | None:
    return samples(status).get((f"scopeward_{name}", tuple(sorted(labels.items()))))


def test_every_series_is_documented_with_its_kind_and_labels() -> None:
    text = exposition(lambda: STATUS_OF_A_NODE)().decode()
    shown = {}
    for family in text_string_to_metric_families(text):
        assert family.samples, f"{family.name}: the sample status leaves it out"
        for sample in family.samples:
            shown[sample.name] = (family.type, set(sample.labels))
    assert set(shown) == set(ROWS)
    for name, (kind, labels) in shown.items():
        assert ROWS[name] == (kind, ", ".join(f"`{label}`" for label in re.findall(r"`(\w+)`", ROWS[name][1])))
        assert set(re.findall(r"`(\w+)`", ROWS[name][1])) == labels, name


def test_names_and_units_are_those_of_prometheus() -> None:
    for name, (kind, _) in ROWS.items():
        assert (kind == "counter") == name.endswith("_total")
        if "time" in name.split("_"):
            assert name.endswith("_time_seconds")


def test_the_values() -> None:
    status = STATUS_OF_A_NODE
    assert value(status, "calls_total", api="orders", verdict="allowed") == 100
    assert value(status, "calls_total", api="-", verdict="refused") == 5
    assert value(status, "refusals_total", reference="scope-missing") == 15
    assert value(status, "upstream_failures_total", api="orders", reference="upstream-timeout") == 3
    assert value(status, "audit_lines_unreadable_total") == 1
    assert value(status, "issuer_keys", issuer="dev") == 2
    assert (value(status, "issuer_failing", issuer="dev"), value(status, "issuer_failing", issuer="old")) == (0, 1)
    assert value(status, "issuer_keys_good_until_time_seconds", issuer="old") == NOW - 60
    assert value(status, "issuer_clock_difference_seconds", issuer="old") == -30
    assert (value(status, "revocations"), value(status, "revocation_changes_pending")) == (7, 1)
    assert [value(status, "disk_state", state=state) for state in ("fine", "low", "full")] == [0, 0, 1]
    assert (value(status, "disk_free_bytes"), value(status, "audit_refusing")) == (20 * 1024**2, 1)
    assert (value(status, "envoy_up"), value(status, "policy_confirmed")) == (1, 0)
    assert value(status, "policy_info", policy_version="403c7d2d85d8") == 1
    assert value(status, "build_info", version="0.1.0", envoy_version="1.40.0") == 1
    assert value(status, "alarms", reference="state-damaged") == 1
    assert value(status, "certificate_expiry_time_seconds", certificate="callers") == NOW + 3 * 86_400


def test_what_is_not_known_has_no_value() -> None:
    status = replace(quiet_status(), envoy=None, policy=PolicyStatus("/p"), issuers=(replace(quiet_status().issuers[0], fetched_at=None, good_until=None),))
    assert value(status, "envoy_up") == 0
    for name in ("envoy_start_time_seconds", "policy_confirmed_time_seconds"):
        assert value(status, name) is None
    for name in ("issuer_keys_fetched_time_seconds", "issuer_keys_good_until_time_seconds"):
        assert value(status, name, issuer="dev") is None


def test_each_scrape_shows_the_status_of_its_moment() -> None:
    taken = [quiet_status()]
    scrape = exposition(lambda: taken[-1])
    assert b'scopeward_calls_total{api="orders"' not in scrape()
    taken.append(replace(quiet_status(), calls=Counts(1, 1, apis={"orders": ApiCounts(1)})))
    assert b'scopeward_calls_total{api="orders",verdict="allowed"} 1.0' in scrape()


def test_no_text_of_a_failure_and_no_path_is_a_label() -> None:
    text = exposition(lambda: STATUS_OF_A_NODE)().decode()
    for hidden in ("idp-unreachable", "no route", "/etc/scopeward", "login.example.test", "rejected", "cut off"):
        assert hidden not in text

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from scopeward.analysis.gateway import Revocation
from scopeward.analysis.place import hosts
from scopeward.compile import TlsMaterial
from scopeward.compile.envoy import names, replies, times
from scopeward.compile.envoy.access_log import _fields
from scopeward.compile.envoy.filters import HTTP_FILTERS, base, decide
from scopeward.compile.envoy.filters.revoke import recent_table, settled_table
from scopeward.compile.envoy.inline import inline
from scopeward.compile.envoy.listener import NOT_BELIEVED
from scopeward.compile.envoy.proto import action
from scopeward.compile.prove.chain import CHAIN, GUARDS
from scopeward.compile.snapshot import File
from scopeward.errors import CALL_REFERENCES, REFERENCES
from scopeward.secret import Secret
from tests.kit.compiling import EDGE, JWKS, Draft, compiled

CASES = Path(__file__).parents[2] / "compile" / "cases"
POLICIES = {p.parent.name: p.read_bytes() for p in sorted(CASES.glob("*/policy.yaml")) if p.parent.name != "edge"}
"""Those that need no certificate."""
ORDERS = POLICIES["orders"]


def backwards(value: Any) -> Any:
    """The same content, each mapping written from its last key to its first."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return value


@pytest.mark.parametrize("name", POLICIES)
def test_the_order_of_keys_does_not_change_a_byte(name: str) -> None:
    other = yaml.safe_dump(backwards(yaml.safe_load(POLICIES[name])), sort_keys=False)
    assert other.encode() != POLICIES[name]
    assert compiled(other).snapshot.files() == compiled(POLICIES[name]).snapshot.files()


def test_compiling_twice_gives_the_same_bytes_and_the_same_version() -> None:
    first, second = compiled(ORDERS).snapshot, compiled(ORDERS).snapshot
    assert first.files() == second.files()
    assert first.version == second.version


def test_the_listener_does_not_depend_on_the_policy() -> None:
    listeners = {compiled(text).snapshot.files()["listeners/listeners.json"] for text in POLICIES.values()}
    assert len(listeners) == 1


def test_the_order_of_revocations_does_not_matter_and_doubles_count_once() -> None:
    one, two = (Revocation("https://idp.test/", "token-id", token) for token in "ab")
    assert compiled(ORDERS, [one, two, one]).snapshot == compiled(ORDERS, [two, one]).snapshot


def test_keys_change_the_token_filter_and_nothing_else() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS, keys=JWKS.replace("golden", "other")).snapshot.files()
    assert [path for path in old if old[path] != new[path]] == ["extensions/envoy.filters.http.jwt_authn/filter.json"]


def test_the_form_in_which_keys_are_written_does_not_change_a_byte() -> None:
    assert compiled(ORDERS, keys=json.dumps(json.loads(JWKS), indent=3)).snapshot == compiled(ORDERS).snapshot


def test_a_revocation_changes_one_table_and_nothing_else() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS, [Revocation("https://idp.test/", "token-id", "gone")]).snapshot.files()
    assert [path for path in old if old[path] != new[path]] == ["extensions/revoke-settled/filter.json"]


def test_each_files_version_is_that_of_its_own_content() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS.replace(b"to: [people, order-sync]", b"to: people")).snapshot.files()
    assert set(old) == set(new)
    for path, file in old.items():
        assert json.loads(file.text)["version_info"] == file.version
        assert (file.version == new[path].version) == (file.text == new[path].text)


def test_a_snapshot_is_never_changed_by_inlining_it() -> None:
    snapshot = compiled(ORDERS).snapshot
    before = dict(snapshot.files())
    inline(snapshot)
    assert Draft(snapshot).snapshot().files() == before


def test_inlining_leaves_no_reference_to_a_file_and_opens_no_log() -> None:
    text = json.dumps(inline(compiled(ORDERS).snapshot))
    assert EDGE.xds not in text
    assert EDGE.audit_log not in text
    assert "config_discovery" not in text


def test_the_chain_that_is_built_is_the_chain_that_is_proven() -> None:
    assert tuple(f.name for f in HTTP_FILTERS) == CHAIN
    assert {f.name for f in HTTP_FILTERS if f.guards} == GUARDS
    assert not [f.name for f in HTTP_FILTERS if f.guards and f.off]


def test_every_slot_refuses_where_it_is_switched_on_by_mistake() -> None:
    for place in Draft(compiled(ORDERS).snapshot).manager["http_filters"]:
        if place.get("disabled"):
            action = place["typed_config"]["matcher"]["on_no_match"]["action"]["typed_config"]
            assert (action["action"], action["name"]) == ("DENY", "slot-unused")


def test_every_call_reference_has_an_answer_of_its_own_and_no_answer_is_unknown() -> None:
    mapped = {
        header["header"]["value"]
        for mapper in replies.compile_replies()["mappers"]
        for header in mapper["headers_to_add"]
        if header["header"]["key"] == names.REFERENCE
    }
    assert mapped <= set(REFERENCES)
    assert {r.id for r in CALL_REFERENCES} - mapped <= {"upstream-refused"}


def test_what_the_tables_can_refuse_with_is_what_enforce_can_deny() -> None:
    enforce = json.dumps(Draft(compiled(ORDERS).snapshot).filter("enforce"))
    for reference in (*base.REFERENCES, *decide.REFERENCES):
        assert f'"name": "{reference}", "action": "DENY"' in enforce
    assert {*base.REFERENCES, *decide.REFERENCES} <= set(REFERENCES)


def test_no_answer_depends_on_a_header_of_the_call_but_its_request_id() -> None:
    assert set(re.findall(r"%REQ\([^)]*\)%", json.dumps(replies.compile_replies()))) == {"%REQ(X-REQUEST-ID)%"}


def test_an_api_within_another_comes_before_it() -> None:
    routes = Draft(compiled(POLICIES["path-shapes"]).snapshot).host["routes"]
    apis = [r["name"].split(" ")[1] for r in routes if r["name"].split(" ")[1] != "-"]
    assert list(dict.fromkeys(apis)) == ["archive", "files", "site"]


def test_the_metadata_document_names_the_resource_as_the_policy_does() -> None:
    route = Draft(compiled(POLICIES["path-shapes"]).snapshot).route("GET /.well-known/oauth-protected-resource/files")
    assert json.loads(route["direct_response"]["body"]["inline_string"]) == {
        "resource": "https://gw.example/files",
        "resource_name": "files",
        "authorization_servers": ["https://idp.test/"],
        "scopes_supported": ["read.files", "write.files"],
        "bearer_methods_supported": ["header"],
    }


def test_no_name_and_no_value_of_the_policy_becomes_a_format_command() -> None:
    text = ORDERS.replace(b"load balancer probe, no data", b"100 %REQ(AUTHORIZATION)% safe")
    assert "AUTHORIZATION" not in json.dumps(compiled(text).snapshot.routes)


def test_a_snapshot_with_another_filter_writes_nothing_else_again() -> None:
    snapshot = compiled(ORDERS).snapshot
    revoked = compiled(ORDERS, [Revocation("https://idp.test/", "token-id", "gone")]).snapshot
    other = snapshot.with_extensions({"revoke-settled": revoked.extensions["revoke-settled"]})
    assert other.files() == revoked.files()
    assert other.version == revoked.version != snapshot.version
    assert [path for path in other.files() if other.files()[path] is not snapshot.files()[path]] == ["extensions/revoke-settled/filter.json"]


def test_a_large_table_stands_on_one_line() -> None:
    many = [Revocation("https://idp.test/", "token-id", f"{n:032}") for n in range(13_000)]
    file = compiled(ORDERS, many).snapshot.files()["extensions/revoke-settled/filter.json"]
    assert file.text.count("\n") == 1
    content = json.loads(file.text)
    assert content["version_info"] == file.version
    assert File.of(tuple(content["resources"])) == file


def test_secrets_are_in_no_repr() -> None:
    material = TlsMaterial("CERTIFICATE", Secret("PRIVATE"))
    edge = replace(EDGE, tls=material, client_ca="AUTHORITY", upstream_tls={"file:/x.pem": material})
    snapshot = compiled(ORDERS, edge=edge).snapshot
    files = snapshot.files()
    assert {path.split("/")[1] for path in files if path.startswith("secrets/")} == set(snapshot.secrets)
    assert "PRIVATE" in files["secrets/listener/secret.json"].text
    for shown in (repr(edge), repr(snapshot), repr(files), repr(material)):
        assert "PRIVATE" not in shown
    assert not [path for path, file in files.items() if "PRIVATE" in file.text and not path.startswith("secrets/")]


# ── revocations ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("times", list(itertools.permutations([None, 5, 9])))
def test_of_several_revocations_of_one_value_the_strongest_counts(times: tuple[int | None, ...]) -> None:
    for what, value in (("client", "a"), ("subject", "a"), ("issuer", "")):
        several = [Revocation("https://idp.test/", what, value, before) for before in times]  # type: ignore[arg-type]
        alone = [Revocation("https://idp.test/", what, value)]  # type: ignore[arg-type]
        assert recent_table(several) == recent_table(alone)
        with_times = [revocation for revocation in several if revocation.before is not None]
        assert settled_table(with_times) == settled_table([Revocation("https://idp.test/", what, value, 9)])  # type: ignore[arg-type]


def test_no_revocations_are_a_table_that_says_live() -> None:
    for table in (recent_table([]), settled_table([])):
        assert table["matcher"] == {"on_no_match": action("live")}


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pattern(predicate: Any) -> str:
    return str(predicate["single_predicate"]["value_match"]["safe_regex"]["regex"])


LIMITS = (*range(122), 999, 1000, 1001, 1099, 1100, 1_699_999_999, 1_700_000_000, 9_999_999_999)


@pytest.mark.parametrize("limit", LIMITS)
def test_times_are_compared_as_numbers(limit: int) -> None:
    before, later = pattern(times.before("x", limit)), pattern(times.at_or_after("x", limit))
    for time in {*range(1_200), *(n for n in (limit - 1, limit, limit + 1, limit * 10, limit // 10, 10**18) if n >= 0)}:
        assert (re.fullmatch(before, str(time)) is not None) == (time < limit)
        assert (re.fullmatch(later, str(time)) is not None) == (time >= limit)


@pytest.mark.parametrize("text", ["", "-", "-1", "00", "01", "1.5", "1e5", "1 ", " 1", "+1", "0x1", "a", "1,2", "٣", str(10**19)])
def test_what_is_no_time_is_neither_before_nor_after(text: str) -> None:
    for limit in LIMITS:
        assert not re.fullmatch(pattern(times.before("x", limit)), text)
        assert not re.fullmatch(pattern(times.at_or_after("x", limit)), text)


# ── the edge ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_behind_a_proxy_its_word_for_address_and_scheme_is_all_that_is_kept() -> None:
    names = ["".join(letters) for n in range(7) for letters in itertools.product("fortp", repeat=n)] + ["host", "proto-x", "for-x", "fo", "-for", "client-cert"]
    assert {name for name in names if not re.fullmatch(NOT_BELIEVED, f"x-forwarded-{name}")} == {"for", "proto"}


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://gw.example", {"gw.example"}),
        ("https://GW.Example:8443", {"gw.example"}),
        ("https://[2001:DB8:0::1]", {"[2001:db8::1]"}),
        ("http://localhost:8080", {"127.0.0.1", "localhost", "[::1]"}),
        ("http://127.0.0.2", {"127.0.0.1", "127.0.0.2", "localhost", "[::1]"}),
    ],
)
def test_the_gateways_own_names(public_url: str, expected: set[str]) -> None:
    prepared = compiled(ORDERS.replace(b"https://gw.example", public_url.encode()))
    own, unknown = prepared.snapshot.routes[0]["virtual_hosts"]
    assert set(own["domains"]) == expected == hosts(prepared.policy)
    assert unknown["domains"] == ["*"]


def test_the_audit_line_keeps_little_of_what_a_caller_may_choose_at_will() -> None:
    unbounded = [name for name, text in _fields("node").items() if isinstance(text, str) and re.search(r"%(REQ|COALESCE)\(.*\)%", text)]
    assert unbounded == ["roles"]  # the gateway's own header; a caller's is removed

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scopeward.analysis.gateway import Revoked
from scopeward.compile.envoy import names, replies
from scopeward.compile.envoy.filters import HTTP_FILTERS, base, decide
from scopeward.compile.envoy.inline import inline
from scopeward.compile.prove import CHAIN, GUARDS
from scopeward.errors import CALL_REFERENCES, REFERENCES
from tests.kit.compiling import EDGE, JWKS, Draft, compiled

CASES = Path(__file__).parents[2] / "compile" / "cases"
POLICIES = {p.parent.name: p.read_bytes() for p in sorted(CASES.glob("*/policy.yaml"))}
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
    one, two = Revoked("https://idp.test/", "a"), Revoked("https://idp.test/", "b")
    assert compiled(ORDERS, [one, two, one]).snapshot == compiled(ORDERS, [two, one]).snapshot


def test_keys_change_the_token_filter_and_nothing_else() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS, keys=JWKS.replace("golden", "other")).snapshot.files()
    assert [path for path in old if old[path] != new[path]] == ["extensions/envoy.filters.http.jwt_authn/filter.json"]


def test_the_form_in_which_keys_are_written_does_not_change_a_byte() -> None:
    assert compiled(ORDERS, keys=json.dumps(json.loads(JWKS), indent=3)).snapshot == compiled(ORDERS).snapshot


def test_a_revocation_changes_one_table_and_nothing_else() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS, [Revoked("https://idp.test/", "gone")]).snapshot.files()
    assert [path for path in old if old[path] != new[path]] == ["extensions/revoke-settled/filter.json"]


def test_each_files_version_is_that_of_its_own_content() -> None:
    old, new = compiled(ORDERS).snapshot.files(), compiled(ORDERS.replace(b"to: [people, order-sync]", b"to: people")).snapshot.files()
    for path, text in old.items():
        assert (json.loads(text)["version_info"] == json.loads(new[path])["version_info"]) == (text == new[path])


def test_a_snapshot_is_never_changed_by_inlining_it() -> None:
    snapshot = compiled(ORDERS).snapshot
    before = snapshot.files()
    inline(snapshot)
    assert snapshot.files() == before


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

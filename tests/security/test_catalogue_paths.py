"""Rows of the catalogue about paths: the policy judges exactly the path that the upstream gets, however it reads it, or the answer is 400.

A table of forms goes through a real gateway to upstreams of several makes. Of whatever passes, each upstream's view must lie under the rule
that let it pass.
"""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeward.audit_line import parse
from scopeward.compile.prove.edge import prove_edge
from scopeward.compile.snapshot import Snapshot
from scopeward.errors import ScopewardError
from scopeward.policy.path import Template, parse_template
from scopeward.warden import checked
from tests.kit import http2, views
from tests.kit.gateway import Answer, RunningGateway
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.views import ViewingUpstream
from tests.kit.wire import head

HOST = "gw.example"
BASE = "/api"
"""The path of the upstreams' own, which the gateway puts in the place of ``at``."""

RULES = {
    "/{id}": "read",
    "/{id}/items": "read",
    "/admin": "admin",
    "/admin/**": "admin",
    "/me:delete": "admin",
    "/v1.0": "admin",
    "/open/**": None,
    "/open/admin": "admin",
    "/open/admin/**": "admin",
}
"""Templates, and the word of the scope that each needs; ``None`` where it is public."""

POLICY = """
version: 1
public_url: https://gw.example
issuers:
  dev: {issuer: https://idp.test/, typ: at+jwt, person: {claim: idtyp, is: user}}
scopes:
  read.orders: {says: Read orders}
  admin.orders: {says: Everything}
clients:
  order-sync: {kind: service, id: order-sync, may: [read.orders, admin.orders]}
apis:
"""


def api(name: str, upstream: str, more: str = "", rules: dict[str, str | None] | None = None, at: str = "") -> str:
    """An API of the policy; ``at`` is ``/NAME`` where it is not said."""
    lines = [f"  {name}:", f"    at: {at or '/' + name}", "    audience: api://orders", f"    upstream: {upstream}", *([f"    {more}"] if more else [])]
    for template, scope in (RULES if rules is None else rules).items():
        lines.append(f"      GET {template}: " + ("{public: everybody}" if scope is None else f"{{needs: {scope}.orders}}"))
    lines.insert(lines.index(next(line for line in lines if line.startswith("      "))), "    rules:")
    return "\n".join(lines) + "\n"


LENIENT = "path: {allow: [semicolon, percent, space, dot]}"
# what comes of each form by row, under an API as it is by default and under one that allows every odd form: the upstream's path, or a reference.
# One text stands for both. The caller may 'read', not 'admin'.
FORMS: dict[int, dict[str, str | tuple[str, str]]] = {
    1: {  # dot segments, plain and escaped
        "/./admin": "scope-missing",
        "/42/../admin": "scope-missing",
        "/42/..": "no-rule",
        "/42/%2e%2e/admin": "scope-missing",
        "/42/%2E./admin": "scope-missing",
        "/42/.%2e/admin": "scope-missing",
        "/42/%2e/items": "/api/42/items",
        "/open/../admin": "scope-missing",
        "/open/./admin": "scope-missing",
        "/open/x/%2e%2e/admin": "scope-missing",
        "/..": "api-not-found",
        "/../admin": "api-not-found",
        "/%2e%2e/%2e%2e/admin": "api-not-found",
        "/42/../../raw/admin": "scope-missing",
        "/42/..;/admin": "scope-missing",
        "/42/..;x=1/admin": "scope-missing",
        "/42/..%3b/admin": ("path-ambiguous", "no-rule"),
        "/42/;/../admin": "no-rule",
        "/open/..;/admin": "scope-missing",
        "/open/y;/../admin": "scope-missing",
        "/42%252f..%252fadmin": ("path-ambiguous", "/api/42%252f..%252fadmin"),
        "/admin..": ("path-ambiguous", "/api/admin.."),
        "/admin...": ("path-ambiguous", "/api/admin..."),
        "/open/.../admin": ("path-ambiguous", "/api/open/.../admin"),
        "/42/...": ("path-ambiguous", "no-rule"),
        "/42/....": ("path-ambiguous", "no-rule"),
        "/..../admin": ("path-ambiguous", "no-rule"),
        "/open/%2e%2e%2e/admin": ("path-ambiguous", "/api/open/.../admin"),
        "/admin/%2e": "scope-missing",
        "/admin/.": "scope-missing",
        "/admin/x/..": "scope-missing",
    },
    2: {  # characters that are escaped so that they miss another route
        "/admin%3bv=1": ("path-ambiguous", "/api/admin%3bv=1"),
        "/admin%3B": ("path-ambiguous", "/api/admin%3B"),
        "/%61dmin": "scope-missing",
        "/%61%64%6d%69%6e": "scope-missing",
        "/%41dmin": "no-rule",
        "/open/%41dmin": "no-rule",
        "/v1%2e0": "scope-missing",
        "/me%3adelete": "no-rule",
        "/me%3Adelete": "no-rule",
        "/ME%3aDELETE": "no-rule",
        "/me:%64elete": "scope-missing",
        "/42%3a": "/api/42%3a",
        "/%6de:delete": "scope-missing",
        "/%2561dmin": ("path-ambiguous", "/api/%2561dmin"),
        "/%252561dmin": ("path-ambiguous", "/api/%252561dmin"),
        "/42/%252e%252e/admin": ("path-ambiguous", "no-rule"),
        "/open/%252e%252e/admin": ("path-ambiguous", "/api/open/%252e%252e/admin"),
        "/admin%25": ("path-ambiguous", "/api/admin%25"),
        "/admin%2500": ("path-ambiguous", "/api/admin%2500"),
        "/admin%2520": ("path-ambiguous", "/api/admin%2520"),
        "/admin%253b": ("path-ambiguous", "/api/admin%253b"),
        "/admin%00": "request-malformed",
        "/admin%00.txt": "request-malformed",
        "/open/admin%00": "request-malformed",
        "/admin%09": "path-ambiguous",
        "/admin%0a": "path-ambiguous",
        "/admin%0d%0a": "path-ambiguous",
        "/admin%1f": "path-ambiguous",
        "/admin%7f": "path-ambiguous",
        "/%00admin": "request-malformed",
        "/admin%20": ("path-ambiguous", "/api/admin%20"),
        "/admin%20%20": ("path-ambiguous", "/api/admin%20%20"),
        "/%20admin": ("path-ambiguous", "/api/%20admin"),
        "/42/%20": ("path-ambiguous", "no-rule"),
        "/open/admin%20/x": ("path-ambiguous", "/api/open/admin%20/x"),
        "/admin.%20": ("path-ambiguous", "/api/admin.%20"),
        "/admin%20.": ("path-ambiguous", "/api/admin%20."),
        "/admin%2e": ("path-ambiguous", "/api/admin."),
        "/admin%2E/x": ("path-ambiguous", "no-rule"),
        "/adm%": "path-ambiguous",
        "/adm%6": "path-ambiguous",
        "/adm%zz": "path-ambiguous",
        "/adm%u0069n": "path-ambiguous",
        "/%u0061dmin": "path-ambiguous",
        "/%c0%aeadmin": "path-ambiguous",
        "/42/%c0%ae%c0%ae/admin": "path-ambiguous",
        "/%c1%a1dmin": "path-ambiguous",
        "/%e0%80%ae": "path-ambiguous",
        "/%f5%80%80%80": "path-ambiguous",
        "/%ff": "path-ambiguous",
        "/%fe%ff": "path-ambiguous",
        "/%ef%bc%8fadmin": "/api/%ef%bc%8fadmin",
        "/%e2%84%aaadmin": "/api/%e2%84%aaadmin",
        "/%c4%b0": "/api/%c4%b0",
        "/adm%c4%b1n": "no-rule",
        "/%e4%bd%a0": "/api/%e4%bd%a0",
        "/caf%c3%a9": "/api/caf%c3%a9",
        "/%80": "/api/%80",
        "/%ed%a0%80": "/api/%ed%a0%80",
        "/42%26x": "/api/42%26x",
        "/%7bid%7d": "/api/%7bid%7d",
        "/%2a": "/api/%2a",
    },
    3: {  # slashes, plain, backwards and escaped
        "//admin": "scope-missing",
        "///admin": "scope-missing",
        "/open//admin": "scope-missing",
        "/open/x//..//admin": "/api/open/x/admin",
        "/open/.//admin": "scope-missing",
        "/42//items": "/api/42/items",
        "\\\\admin": "scope-missing",
        "/42\\..\\admin": "scope-missing",
        "/open\\admin": "scope-missing",
        "/open/x\\..\\admin": "scope-missing",
        "/42%5c..%5cadmin": "request-malformed",
        "/open%5Cadmin": "request-malformed",
        "/42%2fitems": "request-malformed",
        "/42%2F..%2Fadmin": "request-malformed",
        "/open%2fadmin": "request-malformed",
        "/%2fadmin": "request-malformed",
        "/42%2f%2e%2e%2fadmin": "request-malformed",
        "/42%c0%afitems": "path-ambiguous",
    },
    4: {  # what looks like a fragment or a query
        "/42?x=/admin": "/api/42?x=/admin",
        "/42%23x": "/api/42%23x",
        "/admin%23x": "/api/admin%23x",
        "/42%3fx": "/api/42%3fx",
        "/admin%3fx": "/api/admin%3fx",
        "/admin#x": "request-malformed",
        "/42#/admin": "request-malformed",
    },
    11: {  # odd characters, parameters, ends and letters
        "/42": "/api/42",
        "/admin": "scope-missing",
        "/42/items": "/api/42/items",
        "/42;/items": ("path-ambiguous", "/api/42;/items"),
        "/42;a=1/items": ("path-ambiguous", "/api/42;a=1/items"),
        "/;/admin": ("path-ambiguous", "no-rule"),
        "/open/;x/admin": ("path-ambiguous", "/api/open/;x/admin"),
        "/admin;": ("path-ambiguous", "/api/admin;"),
        "/admin;v=1": ("path-ambiguous", "/api/admin;v=1"),
        "/open/admin;v=1": ("path-ambiguous", "/api/open/admin;v=1"),
        "/ADMIN": "no-rule",
        "/Admin": "no-rule",
        "/aDMIN/x": "no-rule",
        "/open/ADMIN": "no-rule",
        "/open/Admin/x": "no-rule",
        "/OPEN/x": "no-rule",
        "/V1.0": "no-rule",
        "/v1.0.": ("path-ambiguous", "/api/v1.0."),
        "/Me:delete": "no-rule",
        "/admin.": ("path-ambiguous", "/api/admin."),
        "/admin./x": ("path-ambiguous", "no-rule"),
        "/open/admin.": ("path-ambiguous", "/api/open/admin."),
        "/\xe4\xbd\xa0": "request-malformed",
        "/adm\xff": "request-malformed",
        "/{id}": "/api/%7Bid%7D",
        "/*": "/api/*",
        "/**": "/api/**",
        "/<x>": "/api/%3Cx%3E",
        '/"x"': "/api/%22x%22",
        "/x|y": "/api/x%7Cy",
        "/x^y": "/api/x%5Ey",
        "/`x`": "/api/%60x%60",
        "/'x'": "/api/'x'",
        "/[x]": "/api/[x]",
        "/(x)": "/api/(x)",
        "/a,b": "/api/a,b",
        "/a=b&c": "/api/a=b&c",
        "/~x": "/api/~x",
        "/$x": "/api/$x",
        "/@x": "/api/@x",
        "/x+y": "/api/x+y",
        "/!x": "/api/!x",
        "/": "no-rule",
        "/admin/": "scope-missing",
        "/42/": "no-rule",
        "/open/": "/api/open/",
        "/open/admin/": "scope-missing",
        "/open/x/": "/api/open/x/",
        "/open": "/api/open",
    },
}
CASES = [(row, form) for row, forms in FORMS.items() for form in forms]


def expected(row: int, form: str, *, lenient: bool) -> str:
    outcome = FORMS[row][form]
    return outcome if isinstance(outcome, str) else outcome[int(lenient)]


@pytest.fixture(scope="module")
def makes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ViewingUpstream]]:
    """The upstreams by make; nginx is left out where it is not installed."""
    with ExitStack() as stack:
        running = {
            "gunicorn": stack.enter_context(views.gunicorn(tmp_path_factory.mktemp("gunicorn"))),
            "node": stack.enter_context(views.node(tmp_path_factory.mktemp("node-server"))),
        }
        if views.NGINX is not None:
            running["nginx"] = stack.enter_context(views.nginx(tmp_path_factory.mktemp("nginx")))
        yield running


@pytest.fixture(scope="module")
def raw() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def edge(makes: dict[str, ViewingUpstream], raw: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    text = POLICY
    for name, url in [*((make, upstream.url) for make, upstream in makes.items()), ("raw", raw.url)]:
        text += api(name, url + BASE) + api(f"{name}-lenient", url + BASE, LENIENT)
    with RunningGateway(tmp_path_factory.mktemp("gateway"), text + single_apis(raw.url), jwks(signing_key())) as running:
        yield running


REST: dict[str, str | None] = {"/**": "read"}
MOVED = {
    # at: the upstream's own path
    "/moved": "/base/deep",
    "/plain": "",
    "/plain/inner": "/other",
    "/twice": "/twice",
    "/v1.0/a+b": "/x$1",
}
"""APIs whose paths are rewritten, for row 8."""


def single_apis(url: str) -> str:
    """APIs of their own for single rows."""
    moved = "".join(api(f"moved-{i}", url + base, rules=REST, at=at) for i, (at, base) in enumerate(MOVED.items()))
    return (
        moved
        + api("hosted", f"{{url: '{url}', host_header: caller}}", rules={"/{id}": "read"})
        + api("health", url, rules={"/health": None, "/{id}": "admin", "/**": "admin"})
        + api("slashes", url, rules={"/**": "read", "/admin": "admin"})
        + api("same", url, "slash: same", rules={"/**": "read", "/admin": "admin", "/open": None})
        + api("letters", url, rules={"/{id}": "read", "/keys": "admin", "/disks": "admin"})
        + api("specific", url, rules={"/a/{x}": "admin", "/{y}/b": "read", "/**": "read"})
    )


@pytest.fixture(scope="module")
def reader() -> str:
    return Mint().token(scope="read.orders")


def ask(edge: RunningGateway, target: str, token: str | None = None, *fields: str, host: str = HOST, method: str = "GET") -> Answer:
    """One call whose request target is sent as it is, latin-1."""
    given = [f"Authorization: Bearer {token}"] if token else []
    return edge.exchange(head(f"{method} {target} HTTP/1.1", f"Host: {host}", *given, *fields))


def outcome(edge: RunningGateway, raw: RecordingUpstream, target: str, token: str | None, **more: Any) -> str:
    """The path that the upstream saw, or the reference of the refusal; never both."""
    before = len(raw.seen)
    answer = ask(edge, target, token, **more)
    seen = raw.seen[before:]
    if answer.reference is not None:
        assert seen == [], "the upstream saw a call that was refused"
        return answer.reference
    assert answer.status == 200
    assert len(seen) == 1
    return seen[0].path


# --- every form against every view


@dataclass(frozen=True)
class Passed:
    """A call that reached an upstream: the template that let it pass, by the gateway's record, and the path by each view."""

    make: str
    lenient: bool
    form: str
    with_token: bool
    template: str
    paths: dict[str, str]


@dataclass(frozen=True)
class Walk:
    """All forms under all APIs: what passed, and the references of the rest by API, form and whether there was a token."""

    passed: list[Passed]
    refused: dict[tuple[str, str, bool], str | None]


@pytest.fixture(scope="module")
def walk(edge: RunningGateway, makes: dict[str, ViewingUpstream], raw: RecordingUpstream, reader: str) -> Walk:
    found: dict[str, Passed] = {}
    refused: dict[tuple[str, str, bool], str | None] = {}
    asked = list(itertools.product([*makes, "raw"], (False, True), [form for _, form in CASES], (False, True)))
    for number, (make, lenient, form, with_token) in enumerate(asked):
        name, before = f"{make}-lenient" if lenient else make, len(raw.seen)
        answer = ask(edge, f"/{name}{form}", reader if with_token else None, f"X-Request-Id: walk-{number}")
        if answer.status == 200:
            paths = dict(makes[make].read(answer.body).paths) if make in makes else {"raw": raw.seen[before].path.partition("?")[0]}
            found[f"walk-{number}"] = Passed(make, lenient, form, with_token, "", paths)
        else:
            refused[name, form, with_token] = answer.reference
    return Walk(list(with_templates(edge, found, len(asked))), refused)


def with_templates(edge: RunningGateway, found: dict[str, Passed], asked: int) -> Iterator[Passed]:
    lines = [parse(json.dumps(line)) for line in edge.audit(asked)]
    for line in lines:
        if call := found.pop(line.client_request_id or "", None):
            yield replace(call, template=(line.operation or "").removeprefix(f"GET /{line.api}"))
    assert found == {}, "calls that passed and are not in the record"


def judged(path: str, *, any_case: bool = False) -> tuple[str, str | None] | None:
    """The most specific template of the policy for a path as an upstream sees it, and the scope that it needs."""
    fitting = [template for template in map(parse_template, RULES) if template.matches(path, any_case=any_case)]
    if not fitting:
        return None
    best = min(fitting, key=lambda template: template.specificity)
    return str(best), RULES[str(best)]


def below(path: str) -> str:
    """Without the upstream's own path, out of which no view may lead."""
    assert path == BASE or path.startswith(f"{BASE}/"), f"{path!r} leads out of {BASE}"
    return path.removeprefix(BASE) or "/"


def seen_by(call: Passed) -> dict[str, str]:
    """The paths by all views: the server's own, and what other servers would make of the path on the wire."""
    wire = next(path for name, path in call.paths.items() if name in {"gunicorn RAW_URI", "Node request.url", "nginx $request_uri", "raw"})
    modelled = views.PLAIN if call.lenient else {**views.PLAIN, **views.ODD}
    return {**call.paths, **{name: view(wire) for name, view in modelled.items()}}


@pytest.mark.parametrize(("row", "form"), CASES)
def test_T03_what_passes_lies_under_its_rule_in_every_view(row: int, form: str, walk: Walk) -> None:
    for call in (call for call in walk.passed if call.form == form):
        for view, path in seen_by(call).items():
            found = judged(below(path))
            assert found is not None, (call, view, path)
            assert found[0] == call.template, (call, view, path)
            assert found[1] in ((None, "read") if call.with_token else (None,)), (call, view, path)


@pytest.mark.parametrize(("row", "form"), CASES)
def test_T11_where_letters_are_folded_a_call_passes_no_stricter_rule(row: int, form: str, walk: Walk) -> None:
    """By default an upstream may take ``/ADMIN`` for ``/admin``."""
    for call in (call for call in walk.passed if call.form == form):
        for view, path in seen_by(call).items():
            found = judged(below(path), any_case=True)
            assert found is not None
            assert found[1] in ((None, "read") if call.with_token else (None,)), (call, view, path)


def test_T03_the_walk_reached_every_make_and_refused_alike_at_all(walk: Walk, makes: dict[str, ViewingUpstream]) -> None:
    by_make = {make: {(c.lenient, c.form, c.with_token, c.template) for c in walk.passed if c.make == make} for make in [*makes, "raw"]}
    assert all(passed == by_make["raw"] for passed in by_make.values())
    assert len(by_make["raw"]) > 100
    assert {"/{id}", "/{id}/items", "/open/**"} == {template for *_, template in by_make["raw"]}


@pytest.mark.parametrize("view", [view for view in views.ODD if view != "truncated"])
def test_T03_each_odd_view_would_lead_to_another_rule_where_its_form_is_allowed(view: str, walk: Walk) -> None:
    """Or the tests above would say nothing. What truncates is refused everywhere."""
    wire = {call.form: (call.paths["raw"], call.template) for call in walk.passed if call.make == "raw" and call.lenient}
    assert [form for form, (path, template) in wire.items() if (judged(below(views.ODD[view](path))) or ("",))[0] != template]


@pytest.mark.skipif(views.NGINX is not None, reason="nginx is installed, and is one of the upstreams of the other tests")
def test_T03_without_nginx_its_view_is_left_out() -> None:
    pytest.skip("nginx is not installed: its view of the paths was not asked for")


# --- row by row


def by_row(row: int) -> list[tuple[str, bool]]:
    return [(form, lenient) for form in FORMS[row] for lenient in (False, True)]


def check_form(row: int, form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    at = "/raw-lenient" if lenient else "/raw"
    assert outcome(edge, raw, at + form, reader) == expected(row, form, lenient=lenient)


@pytest.mark.parametrize(("form", "lenient"), by_row(1))
def test_T01_dot_segments_are_gone_before_a_rule_is_looked_for(form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    check_form(1, form, lenient, edge, raw, reader)


@pytest.mark.parametrize("climb", ["/..", "/%2e%2e", "/.%2E", "/..;", "/..;a=b", "/.;/..", "/%2e", "/."])
@pytest.mark.parametrize("public", ["/raw/open", "/raw/open/x", "/raw-lenient/open", "/health/health"])
def test_T01_no_climb_from_a_public_path_reaches_a_guarded_one(climb: str, public: str, edge: RunningGateway, raw: RecordingUpstream) -> None:
    for times, target in itertools.product((1, 2, 3), ("/admin", "/raw/admin", "/42", "/health/42")):
        before = len(raw.seen)
        answer = ask(edge, public + climb * times + target)
        if answer.status == 200:
            assert (judged(below(views.decoded(raw.seen[-1].path))) or ("", "nothing"))[1] is None
        else:
            assert len(raw.seen) == before
            assert answer.status in {400, 401, 404}


@pytest.mark.parametrize(("form", "lenient"), by_row(2))
def test_T02_escaped_characters(form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    check_form(2, form, lenient, edge, raw, reader)


RESTRICTED = ["%2f", "%2F", "%5c", "%5C", "%00", "%3b", "%3B", "%25", "%252f", "%0a", "%0d", "%20", "%09", "%7f", "%c0%af", "%c0%ae"]


@pytest.mark.parametrize("escape", RESTRICTED)
@pytest.mark.parametrize(
    "around", ["/raw/open{}admin", "/raw/open/{}admin", "/raw/open/x{}..{}admin", "/raw/{}admin", "/raw/admin{}", "/raw/42{}items", "/raw/{}"]
)
def test_T02_a_restricted_character_is_refused_by_default_wherever_it_stands(
    escape: str, around: str, edge: RunningGateway, raw: RecordingUpstream, reader: str
) -> None:
    for token in (reader, None):
        assert outcome(edge, raw, around.format(escape, escape), token) in {"path-ambiguous", "request-malformed"}


@pytest.mark.parametrize("code", range(256))
def test_T02_each_byte_escaped_is_the_literal_or_refused_or_data(code: int, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    """At each place of ``/admin``: before, in the place of a letter, and behind."""
    for form in (f"/%{code:02x}admin", f"/adm%{code:02X}n", f"/admin%{code:02x}"):
        said = outcome(edge, raw, f"/raw{form}", reader)
        if said.startswith("/"):
            assert {(judged(below(view(said))) or ("", ""))[1] for view in {**views.PLAIN, **views.ODD}.values()} == {"read"}, said
        else:
            assert said in {"path-ambiguous", "request-malformed", "scope-missing", "no-rule"}


@pytest.mark.parametrize(("form", "lenient"), by_row(3))
def test_T03_slashes_of_every_kind(form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    check_form(3, form, lenient, edge, raw, reader)


@pytest.mark.parametrize("field", ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"])
def test_T03_a_configuration_without_normalizing_is_not_published(field: str, edge: RunningGateway) -> None:
    snapshot = edge.prepared.snapshot
    listener = json.loads(json.dumps(snapshot.listeners[0]))
    del listener["filter_chains"][0]["filters"][0]["typed_config"][field]
    unproven: Snapshot = replace(snapshot, listeners=(listener,))
    assert list(prove_edge(unproven, edge.prepared.gateway)) == ["the path is not normalized before it is judged"]


@pytest.mark.parametrize(("form", "lenient"), by_row(4))
def test_T04_a_fragment_is_refused_and_its_escape_is_data(form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    check_form(4, form, lenient, edge, raw, reader)


@pytest.mark.parametrize(
    "target", ["/raw/admin#/raw/open/x", "/raw/open/x#/../admin", "/raw/admin?x#/raw/open/x", "/#/raw/open/x", "/raw/open/#", "#/raw/open/x"]
)
def test_T04_a_fragment_on_a_public_path(target: str, edge: RunningGateway, raw: RecordingUpstream) -> None:
    assert outcome(edge, raw, target, None) == "request-malformed"
    with raw.sees_nothing():
        try:
            answer = http2.call(edge.port, "GET", target)
        except http2.StreamReset:
            return
    assert (answer.status, answer.reference) == (400, "request-malformed")


@pytest.mark.parametrize("slashes", ["//", "///", "/\\", "/\\\\", "\\/", "//\\", "/./", "/.//"])
@pytest.mark.parametrize(
    "rest", ["raw/admin", "gw.example/raw/admin", "gw.example:80/raw/admin", "x@raw/admin", "raw//admin", "raw/\\admin", "open/../raw/admin"]
)
def test_T05_two_slashes_begin_a_path_and_no_authority(slashes: str, rest: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, slashes + rest, reader) in {"scope-missing", "api-not-found", "request-malformed"}


@pytest.mark.parametrize("target", ["//raw/42", "///raw/42", "/\\raw/42", "/\\\\raw/42", "//raw//42", "/.//raw/42"])
def test_T05_no_segment_is_lost(target: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, target, reader) == f"{BASE}/42"


NO_PATHS = ["raw/42", "raw/open/x", "", "*", "?x", "#", ".", "./raw/42", "../raw/42", "http://gw.example/raw/42", "gw.example/raw/42", "\\raw\\42", "%2fraw/42"]
UNCLEAN = [
    " /raw/42",
    "/raw/42 ",
    "/raw/4 2",
    "/raw/42\t",
    "/raw/4\x002",
    "/raw/42\r\nx: y",
    "/raw/42 HTTP/1.1\r\nHost: gw.example\r\n\r\nGET /raw/admin",
    "/raw/\x7f",
]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_T06_over_http2_what_does_not_begin_with_a_slash_or_is_no_path_is_refused(
    method: str, edge: RunningGateway, raw: RecordingUpstream, reader: str
) -> None:
    def call(path: str) -> tuple[str, int]:
        try:
            return path, http2.call(edge.port, method, path, [("authorization", f"Bearer {reader}")]).status
        except http2.StreamReset:
            return path, 0

    # Envoy takes a second to end such a connection
    with raw.sees_nothing(), ThreadPoolExecutor(max_workers=32) as pool:
        answers = dict(pool.map(call, [*NO_PATHS, *UNCLEAN]))
    assert {path: status for path, status in answers.items() if status not in {0, 400, 404}} == {}


@pytest.mark.parametrize(("row", "form"), [(row, form) for row, form in CASES if form.isascii() and row != 4])
def test_T06_over_http2_a_path_is_judged_as_over_http1(row: int, form: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    before = len(raw.seen)
    answer = http2.call(edge.port, "GET", f"/raw{form}", [("authorization", f"Bearer {reader}")])
    assert (answer.reference or raw.seen[before].path) == expected(row, form, lenient=False)


ABSOLUTE = {
    "http://gw.example/raw/42": f"{BASE}/42",
    "HTTP://GW.example/raw/42": f"{BASE}/42",
    "http://gw.example:80/raw/42": f"{BASE}/42",
    "http://gw.example/raw/open/../42": f"{BASE}/42",
    "http://gw.example/raw/admin": "scope-missing",
    "http://gw.example//raw/admin": "scope-missing",
    "http://gw.example/raw/open/../admin": "scope-missing",
    "http://gw.example/raw/42#x": "request-malformed",
    "http://gw.example#/raw/42": "request-malformed",
    "http://gw.example?/raw/42": "api-not-found",
    "http://gw.example": "api-not-found",
    "http://gw.example\\raw\\42": "request-malformed",
    "http://evil.example/raw/42": "unknown-host",
    "http://gw.example@evil.example/raw/42": "unknown-host",
    "http:///raw/42": "request-malformed",
    "http://": "request-malformed",
    "http:": "request-malformed",
    "http:raw/42": "request-malformed",
    "http:/raw/42": "request-malformed",
    "http:http://gw.example/raw/42": "request-malformed",
    "http:\\\\gw.example/raw/42": "request-malformed",
    "raw/42": "request-malformed",
    "gw.example/raw/42": "request-malformed",
    "gw.example:80": "request-malformed",
    "*": "request-malformed",
    "?/raw/42": "request-malformed",
    "ws://gw.example/raw/42": "request-malformed",
    "file:///raw/42": "request-malformed",
    "urn:raw:42": "request-malformed",
    "%2fraw/42": "request-malformed",
    "\\raw\\42": "request-malformed",
    "/http://gw.example/raw/42": "api-not-found",
    "/raw/http://gw.example/admin": "no-rule",
}


@pytest.mark.parametrize("target", ABSOLUTE)
@pytest.mark.parametrize("host", [HOST, "evil.example"])
def test_T07_a_target_in_another_form_is_judged_by_what_it_says_or_refused(
    target: str, host: str, edge: RunningGateway, raw: RecordingUpstream, reader: str
) -> None:
    """RFC 9112 section 3.2.2: the authority of an absolute target counts, and Host does not."""
    said = outcome(edge, raw, target, reader, host=host)
    if host == HOST or target.lower().startswith("http://"):
        assert said == ABSOLUTE[target]
    else:
        assert said in {"request-malformed", "unknown-host"}


@pytest.mark.parametrize("target", ["http://gw.example/hosted/42", "http://user@gw.example/hosted/42", "http://evil.example@gw.example/hosted/42"])
@pytest.mark.parametrize("host", [HOST, "evil.example", "gw.example:99"])
def test_T07_the_upstream_is_told_the_host_that_was_judged(target: str, host: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, target, reader, host=host) == "/42"
    assert raw.seen[-1].all("host") == [HOST]
    assert b"evil" not in raw.seen[-1].raw


UNKNOWN_HOSTS = ["evil.example", "gw.example.", "xgw.example", "x.gw.example", "gw.example.evil", "127.0.0.1", "localhost", "", "user@gw.example"]
BROKEN_HOSTS = ["gw.example/raw/42", "gw.example\\@x", "gw.example?x", "gw.example#x", "gw.example, evil", "gw.example evil", "gw.example\tevil"]


@pytest.mark.parametrize("host", [*UNKNOWN_HOSTS, *BROKEN_HOSTS])
@pytest.mark.parametrize("path", ["/raw/42", "/raw/open/x", "/raw/admin", "/.well-known/oauth-protected-resource/raw", "/"])
def test_T07_another_host_reaches_nothing(host: str, path: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, path, reader, host=host) == ("unknown-host" if host in UNKNOWN_HOSTS else "request-malformed")


def test_T07_a_host_twice_or_none_is_refused(edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    token = f"Authorization: Bearer {reader}"
    with raw.sees_nothing():
        for fields in ([], ["Host: gw.example", "Host: evil.example"], ["Host: evil.example", "Host: gw.example"], ["Host: gw.example", "Host: gw.example"]):
            answer = edge.exchange(head("GET /raw/42 HTTP/1.1", *fields, token))
            assert answer.status in {400, 421}


SUFFIXES = ["", "/", "/x", "/x/", "/x/y", "/moved/x", "/plain/x", "/twice/twice", "/x.y", "/%7bx%7d", "/x?y=/twice/../z", "/$1", "/0+1"]
CLIMBS = ["/.", "/x/..", "/x/../y", "/./x", "//x", "/x//y", "\\x", "/x/%2e%2e/y", "/%2e/x"]


@pytest.mark.parametrize("at", MOVED)
@pytest.mark.parametrize("suffix", [*SUFFIXES, *CLIMBS])
def test_T08_a_rewritten_path_is_already_normal_and_begins_with_the_upstreams_own(
    at: str, suffix: str, edge: RunningGateway, raw: RecordingUpstream, reader: str
) -> None:
    base = MOVED[at]
    path, _, query = suffix.partition("?")
    normal = views.normalized("/api" + path.replace("%2e", "."))[4:]
    wanted = base + (normal if path else "") or "/"
    assert outcome(edge, raw, at + suffix, reader) == wanted + (f"?{query}" if query else "")
    seen = raw.seen[-1].path.partition("?")[0]
    assert views.normalized(seen) == seen


@pytest.mark.parametrize("at", MOVED)
@pytest.mark.parametrize(
    "climb", ["/..", "/../raw/admin", "/x/../../raw/admin", "/%2e%2e/raw/admin", "/..\\raw\\admin", "/..;/raw/admin", "/../../../../raw/admin"]
)
def test_T08_no_path_leads_out_of_its_api_and_into_the_upstreams_own(at: str, climb: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    deep = at.count("/") > 1
    assert outcome(edge, raw, at + climb, reader) in ({"scope-missing", "api-not-found", "/raw/admin", "/"} if deep else {"scope-missing", "api-not-found"})


@pytest.mark.parametrize("neighbour", ["/movedx/y", "/moved.x", "/movd/x", "/Moved/x", "/plainx", "/twic", "/v1x0/a+b/x", "/v1.0/aab/x", "/v1.0/a%2bb/x"])
def test_T08_a_place_that_looks_alike_is_another(neighbour: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, neighbour, reader) == "api-not-found"


def rewrites(snapshot: Snapshot) -> dict[str, tuple[str, str]]:
    """Pattern and substitution by the name of the API."""
    found: dict[str, tuple[str, str]] = {}
    for host in snapshot.routes[0]["virtual_hosts"]:
        for route in host["routes"]:
            if rewrite := route.get("route", {}).get("regex_rewrite"):
                found[route["name"].split(" ")[1]] = (rewrite["pattern"]["regex"], rewrite["substitution"])
    return found


PARTS = st.lists(st.sampled_from(["", ".", "..", "...", "a", "moved", "twice", "plain", "inner", "a+b", "$1", "x;y", "%2e"]), max_size=7)


@given(parts=PARTS)
def test_T08_rewriting_and_normalizing_commute(parts: list[str], edge: RunningGateway) -> None:
    """What stays within its API comes to the same in both orders, and what was normalized first needs it no more."""
    for number, at in enumerate(MOVED):
        pattern, substitution = rewrites(edge.prepared.snapshot)[f"moved-{number}"]
        path = "".join(f"/{part}" for part in parts)
        normal = views.normalized(at + path)
        if normal != at and not normal.startswith(f"{at}/"):
            continue
        rewritten = substituted(pattern, substitution, normal)
        assert views.normalized(rewritten) == rewritten
        assert rewritten == (MOVED[at] + normal[len(at) :] or "/")
        if not climbs_out(parts):
            assert views.normalized(substituted(pattern, substitution, at + path)) == rewritten


def substituted(pattern: str, substitution: str, path: str) -> str:
    return re.sub(pattern, lambda _: substitution, path)


def climbs_out(parts: list[str]) -> bool:
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else int(part not in {"", "."})
        if depth < 0:
            return True
    return False


QUERIES = [
    "?x=/health/health",
    "?/health/health",
    "?/../health",
    "?/../../health/health",
    "?;/health",
    "?%2f..%2fhealth",
    "?#",
    "??/health",
    "?x=%00",
    "?x=..;/",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", ["/health/42", "/health/x/health", "/health/", "/health"])
def test_T09_the_query_is_no_part_of_what_is_matched(query: str, path: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, path + query, None) in {"token-missing", "request-malformed"}
    assert outcome(edge, raw, path + query, reader) in {"scope-missing", "no-rule", "request-malformed"}


@pytest.mark.parametrize("query", ["?", "?x=/admin", "?/../admin", "?;v=1", "?x=%2f%00%25", "?x=a?b", "?%zz", "?x=//..//"])
def test_T09_a_query_goes_on_as_it_is(query: str, edge: RunningGateway, raw: RecordingUpstream) -> None:
    assert outcome(edge, raw, f"/health/health{query}", None) == f"/health{query}"


WIDER = [
    "/",
    "/x",
    "/x/health",
    "x",
    ".",
    ".json",
    ";",
    ";x",
    ";/x",
    "%20",
    "%00",
    "%2f",
    "%2fx",
    "%3fx",
    "%23x",
    "//",
    "/.",
    "/./x",
    "/..",
    "/%2e%2e/42",
    "~",
    "%",
    "$",
    "-",
]


@pytest.mark.parametrize("suffix", WIDER)
def test_T10_a_public_path_is_not_widened_by_a_suffix(suffix: str, edge: RunningGateway, raw: RecordingUpstream) -> None:
    """And not by what stands before it."""
    for target in (f"/health/health{suffix}", f"/health/x/health{suffix}"):
        said = outcome(edge, raw, target, None)
        assert said in {"token-missing", "path-ambiguous", "request-malformed"} or (said == "/health" and suffix == "/."), said


@pytest.mark.parametrize("prefix", ["x", "/x", ".", "/x/..", "%20", "%2f", "-", "health", "42;/", "42%3b/.."])
def test_T10_nor_by_a_prefix(prefix: str, edge: RunningGateway, raw: RecordingUpstream) -> None:
    said = outcome(edge, raw, f"/health/{prefix}health", None)
    assert said in {"token-missing", "path-ambiguous", "request-malformed"} or (said == "/health" and prefix == "/x/.."), said


@pytest.mark.parametrize(
    "template",
    ["/foo/.*/bar", "/foo*", "/*", "/foo/*", "/**/bar", "/foo/**bar", "/{a}x", "/{a}{b}", "^/foo", "/foo$|x", "/(foo|bar)", "/[a-z]", "/foo?x=1", "/a%2fb"],
)
def test_T10_a_pattern_that_could_be_widened_is_not_in_the_language(template: str) -> None:
    with pytest.raises(ScopewardError) as refused:
        checked((POLICY + api("a", "http://127.0.0.1:9", rules={template: None})).encode(), "policy.yaml")
    assert "policy-value" in str(refused.value) or "policy-syntax" in str(refused.value)


@pytest.mark.parametrize(("form", "lenient"), by_row(11))
def test_T11_odd_characters(form: str, lenient: bool, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    check_form(11, form, lenient, edge, raw, reader)


@pytest.mark.parametrize("spelt", ["/KEYS", "/Keys", "/%4beys", "/%6beys", "/keys.", "/keys;", "/keys%20", "/k%65ys", "/DISKS", "/d%49sks"])
def test_T11_no_spelling_of_a_literal_is_a_parameter(spelt: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, f"/letters{spelt}", reader) in {"no-rule", "scope-missing", "path-ambiguous"}


@pytest.mark.parametrize("spelt", ["/%e2%84%aaeys", "/key%c5%bf", "/d%c4%b1sks", "/d%c4%b0sks", "/%E2%84%AAEYS"])
def test_T11_no_letter_that_unicode_folds_to_ascii_is_another(spelt: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    """The Kelvin sign, the long s, and the i without a dot and with one: to servers that fold by Unicode they are k, s and i."""
    assert outcome(edge, raw, f"/letters{spelt}", reader) in {"no-rule", "path-ambiguous"}


@pytest.mark.parametrize("spelt", ["/admin/", "/admin//", "/admin/.", "/ADMIN/", "/%61dmin/"])
def test_T11_a_slash_at_the_end_does_not_lead_to_an_easier_rule(spelt: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    """Most routers answer both from one handler unless they are told to be strict."""
    assert outcome(edge, raw, f"/slashes{spelt}", reader) in {"no-rule", "scope-missing", "path-ambiguous"}


@pytest.mark.parametrize("spelt", ["/admin", "/admin/", "/admin//", "/ADMIN/", "/%61dmin/", "/admin/."])
def test_T11_where_a_slash_at_the_end_is_the_same_the_rule_is(spelt: str, edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    assert outcome(edge, raw, f"/same{spelt}", reader) in {"no-rule", "scope-missing"}
    assert outcome(edge, raw, "/same/open/", None) == "/open/"


OVERLAPS = [
    ("GET /{id}", "GET /{other}", ""),
    ("GET /a/{x}/**", "GET /a/{y}/**", ""),
    ("GET /{a}/{b}", "GET /{b}/{a}", ""),
    ("GET /b", "GET /b/", "slash: same"),
    ("GET /{a}", "GET /{b}/", "slash: same"),
]


@pytest.mark.parametrize(("first", "second", "more"), OVERLAPS)
def test_T12_two_rules_for_one_call_are_found_before_anything_is_published(first: str, second: str, more: str) -> None:
    one, other = (operation.removeprefix("GET ") for operation in (first, second))
    text = POLICY + api("a", "http://127.0.0.1:9", more, rules={one: "read", other: "admin"})
    with pytest.raises(ScopewardError) as refused:
        checked(text.encode(), "policy.yaml")
    assert "rule-overlap" in str(refused.value)
    assert first in str(refused.value)
    assert second in str(refused.value)


def test_T12_of_templates_that_meet_one_alone_decides(edge: RunningGateway, raw: RecordingUpstream, reader: str) -> None:
    """``/a/{x}`` before ``/{y}/b``: the leftmost literal."""
    assert outcome(edge, raw, "/specific/a/b", reader) == "scope-missing"
    assert outcome(edge, raw, "/specific/c/b", reader) == "/c/b"
    assert outcome(edge, raw, "/specific/a/b/c", reader) == "/a/b/c"


@given(
    st.lists(st.sampled_from(["/{a}", "/{a}/{b}", "/a", "/a/{b}", "/{a}/b", "/a/b", "/**", "/a/**", "/{a}/**", "/a/"]), min_size=2, unique=True),
    st.sampled_from(["/a", "/a/b", "/c/b", "/a/", "/a/b/c"]),
)
def test_T12_no_two_templates_are_ever_tied(templates: list[str], path: str) -> None:
    fitting: list[Template] = [template for template in map(parse_template, templates) if template.matches(path)]
    assert len({template.specificity for template in fitting}) == len(fitting)

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

import pytest

from scopeward.issuer import Client, Person
from scopeward.issuer.pages import error_page, login_page, page_headers
from scopeward.issuer.server import Asked

from .conftest import CALLBACK, ISSUER, Provider, form_of, location_of


def test_the_page_lists_the_people_and_what_is_asked(provider: Provider) -> None:
    page = provider.authorize().text
    for shown in ("Alice Reader", "Bob Visitor", "orders-web", "read.orders", CALLBACK):
        assert shown in page
    assert "<script" not in page


def test_the_page_cannot_be_framed_cached_or_made_to_run_scripts(provider: Provider) -> None:
    page = provider.authorize()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:50123;" in policy
    assert "unsafe" not in policy
    style = re.search("<style>(.*)</style>", page.text)
    assert style is not None
    assert f"'sha256-{b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "referrer-policy" in page.headers
    cookie = page.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/authorize" in cookie


def test_an_error_page_has_the_same_headers(provider: Provider) -> None:
    page = provider.authorize(client_id="nobody")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


def test_everything_shown_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    client = Client(evil, None, ("authorization_code",), (evil,), (evil,))
    page = login_page(Asked(client, (evil,), evil, {"resource": evil}), [Person(evil, evil, evil, {})], evil)
    assert "<img" not in page + error_page(evil, evil)
    assert '>"' not in page


def test_a_private_use_scheme_is_a_form_action_too() -> None:
    assert "form-action 'self' com.example.app:;" in page_headers("com.example.app:/cb")["Content-Security-Policy"]


def test_a_form_is_good_once(provider: Provider) -> None:
    page = provider.authorize()
    location_of(provider.choose(page, person="alice"))
    assert provider.choose(page, person="alice").status_code == 400


def test_a_form_runs_out(provider: Provider) -> None:
    page = provider.authorize()
    provider.clock.time += 600
    assert provider.choose(page, person="alice").status_code == 400


def test_a_form_works_only_in_the_browser_that_opened_it(provider: Provider) -> None:
    page = provider.authorize()
    provider.http.cookies.clear()
    assert provider.choose(page, person="alice").status_code == 400
    page = provider.authorize()
    provider.http.cookies.clear()
    provider.authorize()  # another browser, with a cookie of its own
    assert provider.choose(page, person="alice").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9401"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_post_from_another_site_is_refused(provider: Provider, headers: dict[str, str]) -> None:
    page = provider.authorize()
    response = provider.http.post("/authorize", data={"form": form_of(page), "person": "alice"}, headers=headers)
    assert response.status_code == 403


def test_a_post_from_the_page_itself_is_taken(provider: Provider) -> None:
    page = provider.authorize()
    headers = {"Origin": ISSUER, "Sec-Fetch-Site": "same-origin"}
    location_of(provider.http.post("/authorize", data={"form": form_of(page), "person": "alice"}, headers=headers))


@pytest.mark.parametrize("fields", [{}, {"person": "mallory"}, {"person": ""}])
def test_nobody_signs_in_as_nobody(provider: Provider, fields: dict[str, str]) -> None:
    assert provider.choose(provider.authorize(), **fields).status_code == 400


def test_what_the_post_adds_does_not_count(provider: Provider) -> None:
    response = provider.choose(provider.authorize(), person="alice", redirect_uri="https://evil.test/", scope="delete.orders")
    assert response.headers["location"].startswith(CALLBACK)


def test_a_field_given_twice_is_refused(provider: Provider) -> None:
    form = form_of(provider.authorize())
    body = f"form={form}&person=alice&person=bob"
    response = provider.http.post("/authorize", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code == 400

from __future__ import annotations

import pytest

from scopeward.errors import ScopewardError
from scopeward.issuer import Client, default_accounts, load_accounts

GOOD = """\
people:
  alice: {name: Alice Reader, email: alice@example.test, claims: {roles: [Order.Clerk]}}
clients:
  web:
    redirect_uris: ["http://127.0.0.1/callback"]
    grants: [authorization_code, refresh_token]
    scopes: [read.orders]
  sync: {secret: hush-hush, grants: [client_credentials], scopes: [read.orders]}
"""


def test_a_good_file_becomes_frozen_values() -> None:
    accounts = load_accounts(GOOD, "accounts.yaml")
    assert accounts.people["alice"].full_name == "Alice Reader"
    assert accounts.people["alice"].claims == {"roles": ["Order.Clerk"]}
    assert accounts.clients["web"].secret is None
    assert accounts.clients["sync"].check_client_secret("hush-hush")
    assert not accounts.clients["sync"].check_client_secret("hush-hush ")
    with pytest.raises(TypeError):
        accounts.people["mallory"] = accounts.people["alice"]  # type: ignore[index]


def test_the_packaged_accounts_tell_the_story_of_the_demo() -> None:
    accounts = default_accounts()
    assert set(accounts.people) == {"alice", "bob"}
    assert {name: client.grants for name, client in accounts.clients.items()} == {
        "orders-web": ("authorization_code", "refresh_token"),
        "order-sync": ("client_credentials",),
        "claims-copilot": ("authorization_code", "refresh_token", "client_credentials"),
        "stock-report": ("client_credentials",),
    }
    assert accounts.clients["stock-report"].scopes == ("read.stock",)
    assert {s for s in accounts.scopes if "." in s} == {"read.orders", "create.orders", "delete.orders", "read.stock"}


def test_no_secret_shows_itself() -> None:
    assert "hush" not in repr(load_accounts(GOOD, "accounts.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("secret: hush-hush", "secret: [hush-hush]", "accounts.yaml:8: clients.sync.secret: "),
        ("secret: hush-hush", "secrets: hush-hush", "accounts.yaml:8: clients.sync.secrets: Extra inputs"),
        ("secret: hush-hush", "secret: ''", "'secret' is empty"),
        ("secret: hush-hush, ", "", "accounts.yaml:8: clients.sync: the grant client_credentials needs a 'secret'"),
        ("secret: hush-hush", "secret: *hush-hush", "(line 8, column 18)"),
        ("secret: hush-hush", "secret: &hush-hush x", None),
        ("secret: hush-hush", "secret: !hush-hush x", "cannot be read (line 8"),
        ("secret: hush-hush", "secret: hush-hush, secret: hush-hush", "(line 8, column 29)"),
        ("secret: hush-hush", "secret: 'hush-hush", "not YAML"),
        ("secret: hush-hush", "secret: 2020-99-99", "cannot be read"),
        ("grants: [client_credentials]", "grants: [password]", "accounts.yaml:8: clients.sync.grants.0: "),
        ("grants: [client_credentials]", "grants: []", "clients.sync.grants: "),
        ("grants: [authorization_code, refresh_token]", "grants: [refresh_token]", "accounts.yaml:4: clients.web: "),
        ('    redirect_uris: ["http://127.0.0.1/callback"]\n', "", "'redirect_uris' and the grant authorization_code go together"),
        ("    scopes: [read.orders]", "    scopes: [read orders]", "accounts.yaml:7: clients.web.scopes.0: "),
        ("    scopes: [read.orders]", "    scopes: [openid]", "every client may ask them"),
        ("  alice:", "  sync:", "a person and a client have the same name"),
        ("  alice:", "  'al ice':", "accounts.yaml:2: people.al ice: "),
        ("  alice:", "  no:", "not text, or an alias (line 2, column 3)"),
        ("  alice:", "  <<:", "(line 2, column 3)"),
        ("roles: [Order.Clerk]", "sub: bob", "may not set what the provider writes itself"),
        ("roles: [Order.Clerk]", "born: 2000-01-01", "people.alice.claims"),
        ("clients:", "customers:", "clients: Field required"),
        (GOOD, "", "empty"),
        (GOOD, "[" * 5000, "not YAML"),
        (GOOD, "a" * (1 << 20) + "b", "larger than"),
        (GOOD, "- x", "the file: "),
    ],
)
def test_a_bad_file_is_refused_with_its_place_and_without_its_secret(old: str, new: str, told: str | None) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if told is None:
        load_accounts(text, "accounts.yaml")
        return
    with pytest.raises(ScopewardError) as error:
        load_accounts(text, "accounts.yaml")
    assert error.value.reference.id == "accounts-invalid"
    assert error.value.what.startswith("accounts.yaml")
    assert told in error.value.what
    assert "hush" not in f"{error.value!r} {error.value.__cause__!r}"


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://example.test/callback",
        "https://user@example.test/callback",
        "https:///callback",
        "https://example.test/callback#part",
        "https://example.test/;callback",
        "https://example.test/call back",
        "/callback",
        "https://example.test/call\nback",
    ],
)
def test_a_redirect_uri_that_could_send_a_code_astray_is_refused(uri: str) -> None:
    with pytest.raises(ScopewardError) as error:
        load_accounts(GOOD.replace('"http://127.0.0.1/callback"', repr(uri).replace("'", '"')), "accounts.yaml")
    assert "accounts.yaml:5: clients.web.redirect_uris.0: " in error.value.what


@pytest.mark.parametrize("uri", ["https://example.test/cb?a=b", "http://localhost:8080/cb", "http://[::1]/cb", "com.example.app:/cb"])
def test_usual_redirect_uris_are_taken(uri: str) -> None:
    accounts = load_accounts(GOOD.replace("http://127.0.0.1/callback", uri), "accounts.yaml")
    assert accounts.clients["web"].check_redirect_uri(uri)


@pytest.mark.parametrize(
    ("known", "asked", "good"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:50123/callback", True),
        ("http://127.0.0.1:1/callback", "http://127.0.0.1:50123/callback", True),
        ("http://[::1]/callback", "http://[::1]:50123/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:99999/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:01/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:50123@evil.test/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1.evil.test/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.2/callback", False),
        ("http://127.0.0.1/callback", "http://localhost/callback", False),
        ("http://127.0.0.1/callback", "https://127.0.0.1/callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:5/callback/", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:5/callback?x=y", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:5/Callback", False),
        ("http://127.0.0.1/callback", "http://127.0.0.1:5/callback#x", False),
        ("http://localhost:1/callback", "http://localhost:2/callback", False),
        ("https://app.example.test/cb", "https://app.example.test:444/cb", False),
        ("https://app.example.test/cb", "https://app.example.test/cb/../evil", False),
    ],
)
def test_a_redirect_uri_is_compared_exactly_but_for_a_loopback_port(known: str, asked: str, good: bool) -> None:
    assert Client("web", None, ("authorization_code",), (), (known,)).check_redirect_uri(asked) is good

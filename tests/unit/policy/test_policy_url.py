from __future__ import annotations

import pytest

from scopeward.policy.url import Url, UrlError, parse_origin, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://idp.example/", Url("https", "idp.example", 443, "/")),
        ("http://127.0.0.1:9001", Url("http", "127.0.0.1", 9001, "")),
        ("http://[::1]:80/a/b", Url("http", "::1", 80, "/a/b")),
        ("https://orders_api/x", Url("https", "orders_api", 443, "/x")),
    ],
)
def test_urls(text: str, url: Url) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ftp://h", "must begin with 'http://' or 'https://'"),
        ("HTTP://h", "must begin with 'http://' or 'https://'"),
        ("h:80", "must begin with 'http://' or 'https://'"),
        ("https://", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://h:port", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://-h", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://h h", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://h\n", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://a..b", "must name a host whose parts have 1 to 63 characters"),
        ("https://h:0", "must hold a port from 1 to 65535"),
        ("https://h:65536", "must hold a port from 1 to 65535"),
        ("https://u:pw@h", "must not hold a user name or password"),
        ("https://h?x", "must be without a query ('?') and fragment ('#')"),
        ("https://h/#x", "must be without a query ('?') and fragment ('#')"),
        ("https://[::g]", "must name a host and, if any, a port, such as 'https://api.example:8443'"),
        ("https://[:1]", "must hold an IPv6 address in its brackets"),
        ("https://h/../x", "must not hold '.', '..' or '//' in its path"),
        ("https://h//x", "must not hold '.', '..' or '//' in its path"),
        ("https://h/a%2fb", "holds a character in its path that is not taken here; letters, digits and - . _ ~ : @ + , = $ ! are"),
        ("https://h/a b", "holds a character in its path that is not taken here; letters, digits and - . _ ~ : @ + , = $ ! are"),
    ],
)
def test_what_is_no_url(text: str, why: str) -> None:
    with pytest.raises(UrlError) as caught:
        parse_url(text)
    assert str(caught.value) == why


def test_an_origin_has_no_path() -> None:
    assert parse_origin("http://h:8080/").path == "/"
    with pytest.raises(UrlError, match="must be without a path"):
        parse_origin("http://h/x")


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("http://localhost", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://localhost.evil.example", False),
        ("http://10.0.0.1", False),
        ("http://127.1", False),
    ],
)
def test_loopback_by_its_text(text: str, loopback: bool) -> None:
    assert parse_url(text).loopback is loopback

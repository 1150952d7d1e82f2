"""The few forms of URL that a policy holds, read strictly: what this does not understand, nobody else gets to interpret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

# RFC 3986 section 3.2, without userinfo (a password in a file), query and fragment. Names as in DNS, and '_' for container networks.
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?)(?::([0-9]{1,5}))?(/.*)?", re.DOTALL)
_PATH = re.compile(r"(/[A-Za-z0-9\-._~:@+,=$!]*)+")
_PORTS = {"http": 80, "https": 443}


class UrlError(ValueError):
    """The text is no URL of the form wanted; the message says why without quoting it, for a URL may hold a password."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL taken apart. ``host`` is without brackets; ``path`` is empty or begins with a slash."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def loopback(self) -> bool:
        """Whether it stays on this machine by its very text: ``localhost``, 127.0.0.0/8 or ::1 (RFC 6761 section 6.3)."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_url(text: str) -> Url:
    """Read ``http(s)://host[:port][/path]``. Errors: ``UrlError``."""
    scheme, sep, rest = text.partition("://")
    if not sep or scheme not in _PORTS:
        raise UrlError("must begin with 'http://' or 'https://'")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise UrlError("must not hold a user name or password")
    if "?" in rest or "#" in rest:
        raise UrlError("must be without a query ('?') and fragment ('#')")
    found = _URL.fullmatch(text)
    if not found:
        raise UrlError("must name a host and, if any, a port, such as 'https://api.example:8443'")
    host, path = found.group(2), found.group(5) or ""
    if not host.startswith("[") and any(len(label) > 63 or not label for label in host.split(".")):
        raise UrlError("must name a host whose parts have 1 to 63 characters")
    return Url("https" if scheme == "https" else "http", _host(host), _port(scheme, found.group(4)), _path(path))


def parse_origin(text: str) -> Url:
    """Read ``http(s)://host[:port]`` without a path; a single trailing slash is forgiven. Errors: ``UrlError``."""
    url = parse_url(text)
    if url.path not in {"", "/"}:
        raise UrlError("must be without a path")
    return url


def _host(host: str) -> str:
    if not host.startswith("["):
        return host
    try:
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        raise UrlError("must hold an IPv6 address in its brackets") from None


def _port(scheme: str, port: str | None) -> int:
    number = int(port) if port else _PORTS[scheme]
    if not 1 <= number <= 65535:
        raise UrlError("must hold a port from 1 to 65535")
    return number


def _path(path: str) -> str:
    if path and not _PATH.fullmatch(path):
        raise UrlError("holds a character in its path that is not taken here; letters, digits and - . _ ~ : @ + , = $ ! are")
    if {".", ".."} & set(path.split("/")) or "//" in path:
        raise UrlError("must not hold '.', '..' or '//' in its path")
    return path

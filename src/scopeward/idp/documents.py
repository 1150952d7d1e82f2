"""One JSON document over the network: from where it may come, how large it may be, how long it may take, and what may be said of a failure."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from scopeward.errors import ScopewardError
from scopeward.policy.url import Url

LONGEST_QUOTE: Final = 300
_STEP_SECONDS: Final = 5.0
_CONNECTIONS: Final = 100
"""More than all issuers' fetches at once take: one that hangs must not hold the connection that another waits for."""

Heard = Callable[[httpx2.Headers], None]
"""Is told the headers of an answer with status 200 as soon as they are there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider may cost us: ``size`` in bytes a document (after decoding), ``seconds`` for one call of a fetcher."""

    size: int = 512 * 1024
    seconds: float = 5.0


DEFAULT_LIMITS: Final = Limits()


def http_client() -> httpx2.AsyncClient:
    """A client for providers: certificates are verified, redirects not followed, each step times out.

    ``HTTPS_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured; loopback is never asked of a proxy.
    Errors: ``idp-unreachable`` where these variables hold nothing usable.
    """
    try:
        return httpx2.AsyncClient(
            verify=True,
            trust_env=True,
            follow_redirects=False,
            timeout=httpx2.Timeout(_STEP_SECONDS),
            limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=2),
            headers={"User-Agent": "scopeward", "Accept": "application/json"},
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
        )
    except OSError:
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or "of this machine"
        raise ScopewardError("idp-unreachable", f"the certificates '{printable(named)}' cannot be read", "Correct SSL_CERT_FILE or SSL_CERT_DIR.") from None
    except (ValueError, ImportError, httpx2.InvalidURL):  # the message would show the proxy's password
        raise ScopewardError("idp-unreachable", "the proxy named in the environment is not usable", "Correct HTTPS_PROXY, ALL_PROXY or NO_PROXY.") from None


def check_secure(url: str, what: str, *, loopback: bool) -> None:
    """https, or http where both the issuer (``loopback`` says so) and this URL are on loopback.

    An issuer elsewhere cannot send us to a service of this machine in clear text. Errors: ``idp-insecure``, ``idp-document``.
    """
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):  # ValueError: half a surrogate pair, which JSON can hold and UTF-8 cannot
        raise ScopewardError("idp-document", f"{what} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo or parts.fragment or not 1 <= (parts.port or 443) <= 65535:
        raise ScopewardError("idp-document", f"{what} is not an http(s) URL of a host, without user name and fragment")
    if parts.scheme == "http" and not (loopback and is_loopback(parts.host)):
        raise ScopewardError("idp-insecure", f"{what} '{printable(url)}' is http and not on loopback")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very text. No IPv4 address in an IPv6 one and no zone: systems differ in what they make of them."""
    return "%" not in host and not host.lower().startswith("::ffff:") and Url("http", host, 80, "").loopback


@asynccontextmanager
async def in_time(issuer: str, limits: Limits) -> AsyncIterator[None]:
    """The block ends in time. Errors: ``idp-unreachable``."""
    try:
        async with asyncio.timeout(limits.seconds):
            yield
    except TimeoutError:
        raise ScopewardError("idp-unreachable", f"'{printable(issuer)}' did not answer in full within {limits.seconds:g} s") from None


async def fetch_document(url: str, client: httpx2.AsyncClient, limits: Limits, heard: Heard | None = None) -> Mapping[str, Any]:
    """The JSON object at ``url``. No redirect is followed: it could lead anywhere, also into this network.

    Errors: ``idp-unreachable``, ``idp-document``.
    """
    shown = f"'{printable(url)}'"
    try:
        async with client.stream("GET", url, follow_redirects=False) as response:
            if response.is_redirect:
                raise ScopewardError("idp-document", f"{shown} answers with a redirect ({response.status_code}), and none is followed")
            if response.status_code != 200:
                raise ScopewardError("idp-document", f"{shown} answers with status {response.status_code}")
            if heard is not None:
                heard(response.headers)
            body = await _read(response, shown, limits)
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:  # ValueError: a host name that IDNA refuses
        raise ScopewardError("idp-unreachable", f"{shown}: {cause_of(error)}") from None
    return _parse(body, shown)


async def _read(response: httpx2.Response, shown: str, limits: Limits) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limits.size:
            raise ScopewardError("idp-document", f"{shown} is larger than {limits.size} bytes")
    return bytes(body)


def _parse(body: bytes, shown: str) -> Mapping[str, Any]:
    try:
        found = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ScopewardError("idp-document", f"{shown} is not JSON") from None
    if not isinstance(found, dict):
        raise ScopewardError("idp-document", f"{shown} is JSON and not an object")
    return found


def cause_of(error: BaseException) -> str:
    """Why a request failed, in plain words. Exceptions of the network's libraries hide the reason in their causes."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {printable(one.verify_message)}"
    for kind, words in _WORDS:
        if any(isinstance(one, kind) for one in chain):
            return words
    return "the connection failed"


_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ssl.SSLError, "TLS could not be agreed; is it https at this port?"),
    (socket.gaierror, "its name is not resolved"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "the connection was closed"),
    (httpx2.TimeoutException, "no answer in time"),
    (TimeoutError, "no answer in time"),
    (httpx2.ProxyError, "the proxy did not let the request through"),
    (httpx2.DecodingError, "its content encoding is broken"),
    (httpx2.ProtocolError, "what it answers is not HTTP; is it https at this port?"),
    (httpx2.InvalidURL, "the address is not a URL"),
)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < 30:
        one = waiting.pop(0)
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return found


def printable(text: str) -> str:
    """A provider's text, made safe for a terminal and not endless."""
    return "".join(c if c.isprintable() else "?" for c in text[:LONGEST_QUOTE]) + ("…" if len(text) > LONGEST_QUOTE else "")

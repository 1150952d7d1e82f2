"""Headers that are sent to upstreams: theirs alone, so that nobody else's value can be taken for ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy, Sends

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2."""

_RESERVED: Final = frozenset(
    """
    authorization connection cookie date expect forwarded from host http2-settings keep-alive last-modified location origin range referer
    server set-cookie te trailer traceparent tracestate transfer-encoding upgrade user-agent vary via warning www-authenticate x-real-ip
    x-request-id x-http-method-override x-original-url x-rewrite-url
    """.split()  # noqa: SIM905 - a list of words is read as words
)
_RESERVED_PREFIXES: Final = ("x-sw-", "x-envoy-", "x-scopeward-", "x-forwarded-", "proxy-", "sec-", "content-", "accept", "access-control-", "if-")

_OWN: Final = {"pass": "x-scopeward-pass"}
"""What may bear a reserved name: the pass is the gateway's own, and nobody else's value can be meant by its name."""


def check_header_reserved(policy: Policy) -> Iterator[Finding]:
    """``header-reserved``. Case and ``_`` for ``-`` make no other name: CGI and WSGI upstreams see both as one."""
    first: dict[str, str] = {}
    for what, name in _named(policy.sends):
        fault = _fault(name, what)
        if fault is None:
            other = first.setdefault(_folded(name), what)
            fault = f"is used twice: '{other}' has it too" if other != what else None
        if fault is not None:
            yield error("header-reserved", ("defaults", "sends", what), f"the header name {quoted(name)} {fault}")


def _named(sends: Sends) -> Iterator[tuple[str, str]]:
    """What is sent, by the policy's keys."""
    given = {"client": sends.client, "subject": sends.subject, "issuer": sends.issuer, "scopes": sends.scopes, "pass": sends.pass_}
    yield from ((what, name) for what, name in given.items() if name is not None)


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _fault(name: str, what: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is no header name"
    if name.lower() == _OWN.get(what):
        return None
    if _folded(name) in _RESERVED or _folded(name).startswith(_RESERVED_PREFIXES):
        return "is one that HTTP or the gateway itself uses"
    return None

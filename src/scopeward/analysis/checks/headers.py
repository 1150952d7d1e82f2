"""Headers that are sent to upstreams: theirs alone, so that nobody else's value can be taken for ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy

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


def check_header_reserved(policy: Policy) -> Iterator[Finding]:
    """``header-reserved``. Case and ``_`` for ``-`` make no other name: CGI and WSGI upstreams see both as one."""
    first: dict[str, str] = {}
    for what, name in asdict(policy.sends).items():
        if name is None:
            continue
        folded = name.lower().replace("_", "-")
        other = first.setdefault(folded, what)
        if fault := _fault(name, folded, what, other):
            yield error("header-reserved", ("defaults", "sends", what), f"the header name {quoted(name)} {fault}")


def _fault(name: str, folded: str, what: str, other: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is no header name"
    if folded in _RESERVED or folded.startswith(_RESERVED_PREFIXES):
        return "is one that HTTP or the gateway itself uses"
    if other != what:
        return f"is used twice: '{other}' has it too"
    return None

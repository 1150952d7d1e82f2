"""Streams: of a kind that can begin with the rule's method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy, StreamKind

_METHODS: Final[Mapping[StreamKind, str]] = {"sse": "GET", "websocket": "GET", "grpc": "POST"}
"""RFC 6455 section 4.1; EventSource asks by GET (HTML section 9.2); gRPC over HTTP/2 asks by POST."""

_NAMES: Final[Mapping[StreamKind, str]] = {"sse": "server-sent events", "websocket": "a WebSocket", "grpc": "gRPC"}


def check_stream_possible(policy: Policy) -> Iterator[Finding]:
    """``stream-not-possible``: a rule that would let in what cannot come, and leaves out what does."""
    for api in policy.apis:
        for rule in api.rules:
            if rule.stream is None or rule.method == _METHODS[rule.stream]:
                continue
            path = ("apis", api.name, "rules", rule.operation, "stream")
            needed = f"begins with {_METHODS[rule.stream]}" if rule.stream != "sse" else f"begin with {_METHODS[rule.stream]}"
            yield error("stream-not-possible", path, f"the rule {quoted(rule.operation)} cannot be a stream: {_NAMES[rule.stream]} {needed}")

"""Requests as bytes, for what no client library would send."""

from __future__ import annotations

from collections.abc import Iterable


def head(line: str, *fields: str, body: bytes = b"") -> bytes:
    """A request line and its fields as they are given, latin-1."""
    return "".join(f"{text}\r\n" for text in (line, *fields, "")).encode("latin-1") + body


def chunked(*chunks: bytes, trailers: Iterable[str] = ()) -> bytes:
    """A chunked body (RFC 9112 section 7.1) with a trailer section."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return body + b"0\r\n" + "".join(f"{trailer}\r\n" for trailer in trailers).encode("latin-1") + b"\r\n"

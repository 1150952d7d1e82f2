"""One call over HTTP/2 without TLS, with what an ordinary client would not send: trailers, odd names, repeated headers."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from email.message import Message

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.kit.gateway import Answer

Fields = Iterable[tuple[str, str]]


class StreamReset(Exception):  # noqa: N818  # an answer, though not one of HTTP's
    """The stream or the connection was ended without an answer."""


def call(port: int, method: str, path: str, headers: Fields = (), body: bytes | None = None, trailers: Fields = (), authority: str = "gw.example") -> Answer:
    """The answer. Errors: ``StreamReset``."""
    return send(port, [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *headers], body, trailers)


def send(port: int, fields: Fields, body: bytes | None = None, trailers: Fields = (), *, ends: bool = True) -> Answer:
    """The answer to just these fields, pseudo-header fields among them. Without ``ends`` the stream stays open on this side. Errors: ``StreamReset``."""
    config = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = h2.connection.H2Connection(config)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        connection.initiate_connection()
        trailers = list(trailers)
        connection.send_headers(1, fields, end_stream=ends and body is None and not trailers)
        if body is not None:
            connection.send_data(1, body, end_stream=ends and not trailers)
        if trailers:
            connection.send_headers(1, trailers, end_stream=True)
        wire.sendall(connection.data_to_send())
        return _answer(connection, wire)


def _answer(connection: h2.connection.H2Connection, wire: socket.socket) -> Answer:
    status, message, body = 0, Message(), b""
    while data := wire.recv(65536):
        for event in connection.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    for name, value in event.headers or ():
                        if name == ":status":
                            status = int(value)
                        else:
                            message[str(name)] = str(value)
                case h2.events.DataReceived():
                    body += event.data or b""
                case h2.events.StreamEnded():
                    return Answer(status, message, body)
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise StreamReset(str(event))
        wire.sendall(connection.data_to_send())
    raise StreamReset("the connection ended")

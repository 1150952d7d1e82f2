"""An upstream that knows nothing of messages: all bytes of each connection, and one answer to the first head."""

from __future__ import annotations

import socket
import time

from tests.kit.listening import Listening


class ByteUpstream(Listening):
    """``connections`` holds what arrived on each since the last ``clear``, in order. ``answer`` is sent as it is after the first empty line, and after it nothing.

    With ``heads`` each further empty line is answered too, as a server with connections that it keeps would.
    """

    def __init__(self, answer: bytes, *, heads: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.heads = heads
        self._all: list[bytearray] = []
        self._before: list[int] = []

    @property
    def connections(self) -> list[bytes]:
        """Those that are new, or on which something came."""
        before = [*self._before, *([0] * len(self._all))]
        new = [(i, bytes(received[before[i] :])) for i, received in enumerate(self._all)]
        return [received for i, received in new if received or i >= len(self._before)]

    @property
    def received(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(self.connections)

    def clear(self) -> None:
        """Forget what was received so far."""
        self._before = [len(received) for received in self._all]

    def settled(self, quiet: float = 0.15) -> bytes:
        """What was received, once nothing more has come for ``quiet`` seconds."""
        while True:
            before = self.received
            time.sleep(quiet)
            if self.received == before:
                return before

    def serve(self, connection: socket.socket) -> None:
        received, answered = bytearray(), 0
        self._all.append(received)
        while data := connection.recv(65536):
            received += data
            heads = received.count(b"\r\n\r\n") if self.heads else min(1, received.count(b"\r\n\r\n"))
            for _ in range(heads - answered):
                connection.sendall(self.answer)
            answered = heads

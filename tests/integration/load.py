"""Callers that call while something happens."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator

from tests.kit.commands import until

CALLERS = 4


class Load:
    """Callers that call one path over and over, each on a connection that it keeps."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.answers: Counter[int | str] = Counter()
        self.connections = 0
        self._port, self._path, self._token = port, path, token
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._callers = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def _call(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                self.connections += 1
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
                while not self._ending.is_set() and self._once(connection):
                    self._ending.wait(0.005)  # the machine has other work

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the connection stays. A call that is not answered counts as lost, and is not tried again."""
        try:
            connection.request("GET", self._path, headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.answers[type(error).__name__] += 1
            return False
        with self._lock:
            self.answers[answer.status] += 1
        return not answer.will_close

    def goes_on(self, calls: int = 20) -> None:
        """Wait until so many more calls were answered."""
        wanted = self.calls() + calls
        until(lambda: self.calls() >= wanted, "calls that go on", 10.0)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for caller in self._callers:
            caller.start()
        try:
            yield
        finally:
            self._ending.set()
            for caller in self._callers:
                caller.join(timeout=15)

    def calls(self) -> int:
        with self._lock:
            return self.answers.total()

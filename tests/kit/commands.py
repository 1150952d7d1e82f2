"""``scopeward`` in processes of its own, as people run it, and whatever these processes leave behind."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds in which whatever is waited for must come; only a failing test waits so long."""

SCOPEWARD = (sys.executable, "-m", "scopeward")

_MARK = "SCOPEWARD_TEST_MARK"
_marks = itertools.count(1)


def until(look: Callable[[], T | None], what: str | Callable[[], str], patience: float = PATIENCE) -> T:
    """What ``look`` finds, once it is neither ``None`` nor false."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"not within {patience:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands in a folder, with an environment where nothing but the folder is Scopeward's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"{os.getpid()}-{next(_marks)}"
        self.states = {folder / "state-home"}
        """The state directories that commands were told to use, and the usual one: what runs on them was started here."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEWARD_") and name not in {"NO_COLOR", "TERM"}}
        self.environ = mine | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state-home"), _MARK: self.mark}

    def run(self, *words: str | Path, program: Sequence[str] = SCOPEWARD, timeout: float = PATIENCE) -> Ran:
        """Run a command to its end."""
        self._note_state(words)
        ended = subprocess.run(
            [*program, *map(str, words)],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *words: str | Path, program: Sequence[str] = SCOPEWARD) -> Running:
        """Start a command that stays; ends, by force, with the ``with`` block."""
        self._note_state(words)
        return Running([*program, *map(str, words)], self)

    def _note_state(self, words: Sequence[str | Path]) -> None:
        self.states |= {self.folder / path for word, path in itertools.pairwise(words) if word == "--state-dir"}

    def processes(self) -> list[int]:
        """The living processes that were started here, directly or not. An Envoy has none of the environment, and is known by its bootstrap file."""
        wanted = f"{_MARK}={self.mark}".encode()
        found = [folder for folder in Path("/proc").glob("[0-9]*") if wanted in _parts(folder / "environ") or self._is_envoy(folder)]
        return [int(folder.name) for folder in found]

    def _is_envoy(self, folder: Path) -> bool:
        named = [Path(os.fsdecode(path)) for word, path in itertools.pairwise(_parts(folder / "cmdline")) if word == b"-c"]
        return any(path.name == "bootstrap.json" and path.is_relative_to(state) for path in named for state in self.states)

    def kill(self, pid: int) -> None:
        """End one of them by force."""
        assert pid in self.processes()
        os.kill(pid, signal.SIGKILL)

    @contextmanager
    def nothing_left(self) -> Iterator[Self]:
        """Fails where a process still runs when the block has ended."""
        try:
            yield self
            until(lambda: not self.processes(), "the end of every process", 10.0)
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)


def _parts(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")  # empty for a zombie
    except OSError:
        return []


class Running:
    """A process with what it printed so far."""

    def __init__(self, words: Sequence[str], shell: Shell) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=shell.folder,
            env=shell.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=0,
        )
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=(stream, self._lines[name]), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)  # a node lets calls end first
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> str:
        return "".join(self._lines["out"])

    @property
    def err(self) -> str:
        return "".join(self._lines["err"])

    def says(self, pattern: str, *, err: bool = False, after: int = 0) -> re.Match[str]:
        """Wait for the process to print something that fits the pattern, after the first ``after`` characters."""

        def look() -> re.Match[str] | None:
            said = self.err if err else self.out
            found = re.compile(pattern, re.MULTILINE).search(said, after)
            ended = self._process.poll()
            assert found or ended is None or not self._ended(), f"ended with status {ended} and never said {pattern!r}:\n{self.out}{self.err}"
            return found

        return until(look, lambda: f"{pattern!r} in:\n{self.out}{self.err}")

    def _ended(self) -> bool:
        return not any(reader.is_alive() for reader in self._readers)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> Ran:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait()

    def interrupt(self) -> Ran:
        """Ctrl-C as a terminal sends it, to the process and all of its group, and wait for the end."""
        os.killpg(self.pid, signal.SIGINT)
        return self.wait()

    def wait(self, patience: float = PATIENCE) -> Ran:
        status = self._process.wait(patience)
        for reader in self._readers:
            reader.join(5)
        return Ran(status, self.out, self.err)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def envoy_pid(state: Path) -> int:
    """The process id of the Envoy that runs in a state directory."""
    return int(json.loads((state / "run.json").read_text())["pid"])


def call(url: str, token: str | None = None, method: str = "GET", tls: ssl.SSLContext | None = None) -> tuple[int, str | None]:
    """A real call: its status and the reference of the refusal. ``tls`` is how an https URL is verified."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = httpx2.request(method, url, headers=headers, trust_env=False, timeout=10.0, verify=tls if tls is not None else True)
    return answer.status_code, answer.headers.get("scopeward-reference")


def is_refused(url: str) -> bool:
    """Whether nobody accepts a connection there."""
    try:
        httpx2.get(url, trust_env=False, timeout=10.0)
    except httpx2.ConnectError:
        return True
    return False


def replace_file(path: Path, text: str) -> None:
    """Write as editors do: another file takes the name."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)

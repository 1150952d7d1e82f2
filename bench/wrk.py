"""The load generator: wrk, 32 connections on core 1, each call with the next token of a file."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Calls:
    """What came of the calls: answered 200, answered otherwise, and socket errors."""

    good: int
    other: int
    errors: int

    @property
    def all(self) -> int:
        return self.good + self.other

    @property
    def lost(self) -> int:
        return self.other + self.errors


@dataclass(frozen=True)
class Wrk:
    """Callers of the gateway at ``port``, each of which calls again as soon as it is answered."""

    port: int
    tokens: Path

    def run(self, seconds: int) -> Calls:
        return self.counted(self.start(seconds))

    def start(self, seconds: int) -> subprocess.Popen[str]:
        command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(HERE / "load.lua"), f"http://127.0.0.1:{self.port}"]
        environment = {**os.environ, "BENCH_TOKENS": str(self.tokens)}
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def counted(self, started: subprocess.Popen[str]) -> Calls:
        """Wait for its end."""
        said, _ = started.communicate()
        if started.returncode:
            raise SystemExit(f"wrk ended with status {started.returncode}: nothing is measured")
        return Calls(*map(int, next(line for line in said.splitlines() if line.startswith("BENCH")).split()[1:]))

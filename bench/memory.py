"""Resident memory of both processes of a node, after the load."""

from __future__ import annotations

from bench.contestants import FULL, Stage
from bench.row import Row

GOAL = 150.0


def measure(running: Stage) -> list[Row]:
    python, envoy = running.gateway().mebibytes()
    full_python, full_envoy = running.gateway(FULL).mebibytes()
    return [
        Row("memory of the Python process", python, "MiB", GOAL),
        Row("memory of Envoy", envoy, "MiB"),
        Row("memory of the Python process, 100,000 revocations", full_python, "MiB"),
        Row("memory of Envoy, 100,000 revocations", full_envoy, "MiB"),
    ]

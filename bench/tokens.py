"""The loads: files of tokens, one a line."""

from __future__ import annotations

from pathlib import Path

from bench.contestants import Stage

MANY = 10_000


def write_loads(folder: Path, running: Stage) -> dict[str, Path]:
    """One token; as many as fit the cache; ten percent of them with a broken signature; one with its scopes as an array."""
    many = [running.token(f"t{n}") for n in range(MANY)]
    some_bad = [_broken(t) if n % 10 == 0 else t for n, t in enumerate(many[:1000])]
    loads = {
        "one token": many[:1],
        "10,000 tokens": many,
        "10 % bad tokens": some_bad,
        "scopes as array": [running.token("array", scope=None, scp=["read.orders", "create.orders"])],
    }
    files = {}
    for name, tokens in loads.items():
        files[name] = folder / f"{name.replace(' ', '-').replace('%', 'percent').replace(',', '')}.tokens"
        files[name].write_text("\n".join(tokens) + "\n")
    return files


def _broken(token: str) -> str:
    """Another signature of the same length."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{'A' * 40}{signature[40:]}"

"""What each policy compiles to, byte for byte. ``pytest --update-golden`` rewrites the files; read the difference before it is kept.

A case may say what was fetched and revoked (``facts.json``), and may stand at another edge than the others (``EDGES``). Certificates and keys
are made anew each time, and stand in no file: a word stands for each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.app import SystemClock
from scopeward.compile import Edge, Snapshot, TlsMaterial
from scopeward.compile.snapshot import canonical
from scopeward.envoy.validate import validate
from scopeward.tls.development import development_certificate
from scopeward.warden import Prepared
from tests.kit.compiling import EDGE, Draft, compiled
from tests.kit.gateway import envoy

CASES = Path(__file__).parent / "cases"
AUTHORITIES = Path(__file__).with_name("authorities.pem")
LISTENERS = "listeners.json"


@cache
def certificate(host: str) -> tuple[TlsMaterial, str]:
    """A certificate and key, and the authority's certificate."""
    ca, leaf, key = development_certificate([host], SystemClock())
    return TlsMaterial(leaf, key), ca


@cache
def edges() -> Mapping[str, Edge]:
    shown, authority = certificate("gw.example")
    to_upstream, _ = certificate("gateway.example")
    return {
        "edge": replace(EDGE, host="0.0.0.0", tls=shown, client_ca=authority, upstream_tls={"file:/etc/scopeward/stock.pem": to_upstream}),
        "behind-proxy": replace(EDGE, host="::", proxies=("10.1.0.0/16", "fd00::/8")),
    }


def policies() -> list[str]:
    return sorted(p.parent.name for p in CASES.glob("*/policy.yaml"))


def prepared(name: str) -> Prepared:
    path = CASES / name / "facts.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    recent, settled = ([Revocation(*values) for values in known.get(table, [])] for table in ("recent", "settled"))
    text = (CASES / name / "policy.yaml").read_bytes()
    return compiled(text, settled, edge=edges().get(name, EDGE), good_until=known.get("good_until"), recent=recent)


def without_secrets(text: str) -> str:
    for host, word in (("gw.example", "LISTENER"), ("gateway.example", "UPSTREAM")):
        material, authority = certificate(host)
        for secret, stands_for in ((material.certificate, "CERTIFICATE"), (material.private_key.reveal(), "KEY"), (authority, "AUTHORITY")):
            text = text.replace(json.dumps(secret)[1:-1], f"{stands_for} {word}")
    return text


def rendered(case: Prepared) -> dict[str, str]:
    """The resources by file name, without the versions, which are hashes of what is there to be read."""
    files = {}
    for path, file in case.snapshot.files().items():
        kind, name, *_ = path.split("/")
        content = canonical(json.loads(file.text)["resources"], indent=1) + "\n"
        files[f"{name}.json" if kind == "extensions" else f"secret-{name}.json" if kind == "secrets" else f"{kind}.json"] = without_secrets(content)
    return files


@pytest.fixture(autouse=True)
def one_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle of authorities is where the machine keeps it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITIES))


@pytest.mark.parametrize("name", policies())
def test_a_policy_compiles_to_its_golden_files(name: str, update_golden: bool) -> None:
    files = {file: text.replace(str(AUTHORITIES.parent), "HERE") for file, text in rendered(prepared(name)).items()}
    for file, text in files.items():
        golden = CASES / (LISTENERS if file == LISTENERS and name not in edges() else f"{name}/{file}")
        if update_golden:
            golden.write_text(text)
        assert golden.exists(), "run pytest --update-golden"
        assert golden.read_text() == text, f"{golden.name} differs"
    kept = {p.name for p in (CASES / name).glob("*.json")} - {"facts.json"}
    assert kept == set(files) - (set() if name in edges() else {LISTENERS})


@pytest.mark.parametrize("name", policies())
def test_envoy_accepts_every_golden_policy(name: str) -> None:
    asyncio.run(validate(with_a_bundle(prepared(name).snapshot), envoy()))


def with_a_bundle(snapshot: Snapshot) -> Snapshot:
    """The same with a bundle of authorities that is there, in place of the one that the policy names."""
    draft = Draft(snapshot)
    draft.clusters = json.loads(json.dumps(draft.clusters).replace("/etc/scopeward/authorities.pem", str(AUTHORITIES)))
    return draft.snapshot()


def test_no_golden_file_holds_a_key() -> None:
    for path in CASES.rglob("*.json"):
        assert "PRIVATE KEY" not in path.read_text(), path

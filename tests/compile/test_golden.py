"""What each policy compiles to, byte for byte. ``pytest --update-golden`` rewrites the files; read the difference before it is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from scopeward.analysis.gateway import Revoked
from scopeward.app import Prepared
from scopeward.compile.snapshot import canonical
from scopeward.envoy.validate import validate
from tests.kit.compiling import compiled
from tests.kit.gateway import envoy

CASES = Path(__file__).parent / "cases"
LISTENERS = "listeners.json"


def policies() -> list[str]:
    return sorted(p.parent.name for p in CASES.glob("*/policy.yaml"))


def prepared(name: str) -> Prepared:
    revoked = CASES / name / "revoked.json"
    pairs = json.loads(revoked.read_text()) if revoked.exists() else []
    return compiled((CASES / name / "policy.yaml").read_bytes(), [Revoked(*pair) for pair in pairs])


def rendered(case: Prepared) -> dict[str, str]:
    """The resources by file name, without the versions, which are hashes of what is there to be read."""
    files = {}
    for path, text in case.snapshot.files().items():
        kind, name, *_ = path.split("/")
        resources = json.loads(text)["resources"]
        files[f"{name}.json" if kind == "extensions" else f"{kind}.json"] = canonical(resources, indent=1) + "\n"
    return files


@pytest.fixture(autouse=True)
def one_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle of authorities is where the machine keeps it."""
    bundle = Path(__file__).with_name("authorities.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))


@pytest.mark.parametrize("name", policies())
def test_a_policy_compiles_to_its_golden_files(name: str, update_golden: bool) -> None:
    here = str(Path(__file__).parent)
    files = {file: text.replace(here, "HERE") for file, text in rendered(prepared(name)).items()}
    for file, text in files.items():
        golden = CASES / (LISTENERS if file == LISTENERS else f"{name}/{file}")
        if update_golden:
            golden.write_text(text)
        assert golden.exists(), "run pytest --update-golden"
        assert golden.read_text() == text, f"{golden.name} differs"
    kept = {p.name for p in (CASES / name).glob("*.json")} - {"revoked.json"}
    assert kept == set(files) - {LISTENERS}


@pytest.mark.parametrize("name", policies())
def test_envoy_accepts_every_golden_policy(name: str) -> None:
    asyncio.run(validate(prepared(name).snapshot, envoy()))

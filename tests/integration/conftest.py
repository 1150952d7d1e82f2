from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ground import POLICY, Place, service_token
from tests.kit.commands import Shell
from tests.kit.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("m")  # short: a unix socket's path holds 100 bytes


@pytest.fixture(scope="module")
def shell(folder: Path) -> Iterator[Shell]:
    """Commands of a test file; when the file has ended, nothing that they started may run."""
    with Shell(folder).nothing_left() as shell:
        yield shell


@pytest.fixture(scope="module")
def development_provider(shell: Shell, folder: Path) -> Iterator[str]:
    """The issuer of a ``scopeward idp`` whose state directory is ``idp-state``."""
    with shell.start("idp", "--listen", ":0", "--state-dir", folder / "idp-state") as running:
        yield running.says(r"^development identity provider: (\S+)$")[1]


@pytest.fixture(scope="module")
def api() -> Iterator[RecordingUpstream]:
    """The upstream of a file's policies."""
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def text(development_provider: str, api: RecordingUpstream) -> str:
    """A policy whose one API takes ``token``."""
    return POLICY.format(issuer=development_provider, upstream=api.url)


@pytest.fixture(scope="module")
def token(development_provider: str) -> str:
    return service_token(development_provider)


@pytest.fixture
def place(shell: Shell, tmp_path: Path, text: str) -> Place:
    """For a test that has a node of its own."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    return Place(shell, policy, tmp_path / "state")

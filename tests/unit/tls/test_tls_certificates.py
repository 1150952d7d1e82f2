"""Files that change under a node: every way of replacing them, and the moments in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scopeward.errors import ScopewardError
from scopeward.tls import certificates as certificates_module
from scopeward.tls.certificates import CertificateFiles, Certificates, Expiry, Loaded, load

from .conftest import DAY, NOW, Folder, key_pem, make_certificate


@pytest.fixture
def files(folder: Folder, key: Any) -> CertificateFiles:
    return CertificateFiles(*folder.pair(key))


def replace(path: Path, text: str) -> None:
    """By a rename, as careful programs do."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


def test_nothing_named_is_nothing_loaded() -> None:
    found = load(CertificateFiles(), NOW)
    assert (found.tls, found.client_ca, found.upstream_tls, found.ca_bundle, found.expiries, found.exposed) == (None, None, {}, None, (), ())
    assert Certificates(found).look(NOW) is None


def test_all_of_a_node(folder: Folder, key: Any, other: Any) -> None:
    cert, key_file = folder.pair(key)
    ca = folder.write("ca.pem", make_certificate(other, ca=True))
    both = folder.write("both.pem", make_certificate(other, ends=NOW + 2 * DAY) + key_pem(other), 0o644)
    found = load(CertificateFiles(cert, key_file, ca, (f"file:{both}",), ca), NOW)
    assert found.tls is not None
    assert found.tls.certificate == cert.read_text()
    assert found.client_ca == found.ca_bundle == ca.read_text()
    assert found.upstream_tls[f"file:{both}"].private_key.reveal() == key_pem(other)
    assert found.expiries == (Expiry("listener", cert, NOW + DAY), Expiry("upstream", both, NOW + 2 * DAY))
    assert found.exposed == (both,)
    assert key_pem(other)[60:90] not in repr(found)


@pytest.mark.parametrize("field", ["client_ca", "ca_bundle", "upstream"])
def test_each_file_that_is_named_must_be_there(folder: Folder, key: Any, field: str) -> None:
    gone = folder.path / "gone.pem"
    named: dict[str, Any] = {field: (f"file:{gone}",) if field == "upstream" else gone}
    with pytest.raises(ScopewardError, match=r"gone\.pem"):
        load(CertificateFiles(*folder.pair(key), **named), NOW)


def test_a_look_at_nothing_new_reads_nothing(files: CertificateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Certificates(load(files, NOW))
    monkeypatch.setattr(certificates_module, "load", lambda *_: pytest.fail("it was read"))
    assert watch.look(NOW) is None
    assert watch.look(NOW + 10 * DAY) is None, "an expired certificate stays in force: another would have to be there"


def test_a_renewal_by_rename(files: CertificateFiles, key: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    replace(files.cert, make_certificate(key, ends=NOW + 9 * DAY))
    found = watch.look(NOW)
    assert isinstance(found, Loaded)
    assert found.expiries[0].expires_at == NOW + 9 * DAY
    assert watch.loaded != found, "in force is what the caller says"
    assert watch.look(NOW) == found, "until it is used, it is offered"
    watch.use(found)
    assert watch.look(NOW) is None
    assert watch.loaded == found


def test_a_renewal_in_place(files: CertificateFiles, key: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    files.cert.write_text(make_certificate(key, ends=NOW + 9 * DAY))
    assert isinstance(watch.look(NOW), Loaded)


def test_a_renewal_by_a_swapped_link(folder: Folder, key: Any, other: Any) -> None:
    """As Kubernetes does it: the files are links into '..data', which is a link to a folder that is replaced by another."""
    for name, of in (("one", key), ("two", other)):
        Folder(folder.path / name).path.mkdir()
        Folder(folder.path / name).pair(of)
    data = folder.path / "..data"
    data.symlink_to("one")
    for name in ("cert.pem", "key.pem"):
        (folder.path / name).symlink_to(f"..data/{name}")
    watch = Certificates(load(CertificateFiles(folder.path / "cert.pem", folder.path / "key.pem"), NOW))
    (folder.path / "..tmp").symlink_to("two")
    (folder.path / "..tmp").replace(data)
    found = watch.look(NOW)
    assert isinstance(found, Loaded)
    assert found.tls is not None
    assert found.tls.private_key.reveal() == key_pem(other)


def test_the_moment_between_two_files_is_no_news(files: CertificateFiles, other: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    assert files.key is not None
    replace(files.cert, make_certificate(other))
    assert watch.look(NOW) is None
    replace(files.key, key_pem(other))
    found = watch.look(NOW)
    assert isinstance(found, Loaded)
    assert found.tls is not None
    assert found.tls.private_key.reveal() == key_pem(other)


def test_a_refusal_is_told_from_the_second_look_on_and_keeps_what_was_there(files: CertificateFiles, other: Any) -> None:
    before = load(files, NOW)
    watch = Certificates(before)
    assert files.cert is not None
    replace(files.cert, make_certificate(other))
    looks = [watch.look(NOW) for _ in range(5)]
    assert [look is None for look in looks] == [True, False, False, False, False]
    assert isinstance(looks[1], ScopewardError)
    assert looks[1].reference.id == "tls-certificate"
    assert watch.loaded == before


def test_another_refusal_is_told_too(files: CertificateFiles, other: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    replace(files.cert, make_certificate(other))
    watch.look(NOW)
    first = watch.look(NOW)
    files.cert.unlink()
    second = watch.look(NOW)
    assert "not that of the certificate" in str(first)
    assert "No such file" in str(second)


def test_a_file_that_comes_back_as_it_was_is_nothing_new(files: CertificateFiles) -> None:
    watch = Certificates(load(files, NOW))
    assert files.key is not None
    away = files.key.rename(files.key.with_name("away"))
    watch.look(NOW)
    assert isinstance(watch.look(NOW), ScopewardError)
    away.rename(files.key)
    assert watch.look(NOW) is None
    files.key.rename(away)
    watch.look(NOW)
    assert isinstance(watch.look(NOW), ScopewardError), "the next trouble is told again"


def test_what_is_not_yet_valid_is_taken_once_it_is(files: CertificateFiles, key: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    replace(files.cert, make_certificate(key, begins=NOW + 60))
    watch.look(NOW)
    assert isinstance(watch.look(NOW), ScopewardError)
    assert isinstance(watch.look(NOW + 60), Loaded)


def test_an_expired_renewal_is_refused(files: CertificateFiles, key: Any) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    replace(files.cert, make_certificate(key, begins=NOW - 2 * DAY, ends=NOW - DAY))
    watch.look(NOW)
    assert "expired" in str(watch.look(NOW))


def test_a_touched_file_with_the_same_content_is_nothing_new(files: CertificateFiles) -> None:
    watch = Certificates(load(files, NOW))
    assert files.cert is not None
    os.utime(files.cert, (1, 1))
    assert watch.look(NOW) is None
    files.cert.chmod(0o640)
    assert watch.look(NOW) is None


def test_what_changes_while_it_is_read_is_not_believed(files: CertificateFiles, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = certificates_module.read_pair

    def slow(cert: Path, key_file: Path, now: float) -> Any:
        found = original(cert, key_file, now)
        replace(cert, make_certificate(key, ends=NOW + 3 * DAY))
        return found

    monkeypatch.setattr(certificates_module, "read_pair", slow)
    with pytest.raises(ScopewardError, match="while they were read"):
        load(files, NOW)


def test_a_policy_may_name_other_files(files: CertificateFiles, folder: Folder, other: Any) -> None:
    watch = Certificates(load(files, NOW))
    both = folder.write("both.pem", make_certificate(other) + key_pem(other))
    more = load(CertificateFiles(files.cert, files.key, upstream=(f"file:{both}",)), NOW)
    assert watch.look(NOW) is None
    watch.use(more)
    replace(both, make_certificate(other, ends=NOW + 4 * DAY) + key_pem(other))
    found = watch.look(NOW)
    assert isinstance(found, Loaded)
    assert found.expiries[1].expires_at == NOW + 4 * DAY

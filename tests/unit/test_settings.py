"""Each setting, from each place it can come from, and every combination that is refused."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from scopeward.envoy.place import Listen
from scopeward.errors import ScopewardError
from scopeward.settings import (
    _FILE_KEYS,
    DEFAULT_FILE,
    Flags,
    Setting,
    Settings,
    parse_address,
    parse_concurrency,
    parse_gateway_address,
    parse_proxies,
    read_settings,
)

ROOT = Path(__file__).resolve().parents[2]

TLS: dict[str, Any] = {"tls_cert": Path("c.pem"), "tls_key": Path("k.pem")}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(reference: str, flags: Flags = Flags(), environ: dict[str, str] | None = None) -> ScopewardError:  # noqa: B008  frozen
    with pytest.raises(ScopewardError) as caught:
        read_settings(flags, environ or {})
    assert caught.value.reference.id == reference, caught.value
    return caught.value


def written(text: str, name: str = "scopeward.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


# ── where a value comes from ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_defaults() -> None:
    found = read_settings(Flags(), {})
    assert found.listen == Setting(Listen("127.0.0.1", 8080), "default")
    assert found.policy == Setting(Path("scopeward.yaml"), "default")
    assert found.state_dir.value.name == "scopeward"
    unset = ("envoy", "env", "tls_cert", "tls_key", "tls_client_ca", "ops_listen", "concurrency", "settings_file")
    assert all(getattr(found, name) == Setting(None, "default") for name in unset)
    assert found.behind_tls_proxy == Setting((), "default")


EACH: list[tuple[str, Any, str, str, Any]] = [
    # name, as a flag, in the environment, in the file, what is read
    ("listen", "[::1]:1", "[::1]:1", '"[::1]:1"', Listen("::1", 1)),
    ("state_dir", Path("/s"), "/s", '"/s"', Path("/s")),
    ("envoy", Path("/e"), "/e", '"/e"', Path("/e")),
    ("policy", Path("p.yaml"), "p.yaml", '"p.yaml"', Path("p.yaml")),
    ("env", "prod", "prod", '"prod"', "prod"),
    ("tls_cert", Path("c"), "c", '"c"', Path("c")),
    ("tls_key", Path("k"), "k", '"k"', Path("k")),
    ("tls_client_ca", Path("a"), "a", '"a"', Path("a")),
    ("behind_tls_proxy", ("10.0.0.0/8", "10.1.2.3"), "10.0.0.0/8, 10.1.2.3", '["10.0.0.0/8", "10.1.2.3"]', ("10.0.0.0/8", "10.1.2.3/32")),
    ("ops_listen", ":2", ":2", '":2"', Listen("127.0.0.1", 2)),
    ("concurrency", 4, "4", "4", 4),
]


def test_each_setting_is_in_the_table() -> None:
    assert {name for name, *_ in EACH} == set(_FILE_KEYS) == {field.name for field in fields(Settings)} - {"settings_file"}
    assert {field.name for field in fields(Flags)} == {field.name for field in fields(Settings)}


@pytest.mark.parametrize(("name", "flag", "variable", "text", "value"), EACH, ids=[name for name, *_ in EACH])
def test_each_setting_from_each_place(name: str, flag: Any, variable: str, text: str, value: Any) -> None:
    beside: dict[str, Any] = {"tls_cert": {"tls_key": Path("k")}, "tls_key": {"tls_cert": Path("c")}, "tls_client_ca": TLS}.get(name, {})
    spelt = f"SCOPEWARD_{name.upper()}"
    written(f"# a comment\n\n{name} = {text}\n")
    assert getattr(read_settings(Flags(**beside), {}), name) == Setting(value, "file", "scopeward.toml:3")
    assert getattr(read_settings(Flags(**beside), {spelt: ""}), name).origin == "file"
    assert getattr(read_settings(Flags(**beside), {spelt: variable}), name) == Setting(value, "environment", spelt)
    from_flag = read_settings(Flags(**beside, **{name: flag}), {spelt: "a value that nobody reads"})
    assert getattr(from_flag, name) == Setting(value, "flag", "POLICY" if name == "policy" else f"--{name.replace('_', '-')}")


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_named() -> None:
    path = written("concurrency = 1", "etc/node.toml")
    written("concurrency = 2")
    assert read_settings(Flags(), {}).settings_file == Setting(DEFAULT_FILE, "default")
    by_name = read_settings(Flags(), {"SCOPEWARD_SETTINGS": str(path)})
    assert by_name.settings_file == Setting(path, "environment", "SCOPEWARD_SETTINGS")
    assert by_name.concurrency == Setting(1, "file", "etc/node.toml:1")
    by_flag = read_settings(Flags(settings_file=path), {"SCOPEWARD_SETTINGS": "gone.toml"})
    assert by_flag.settings_file == Setting(path, "flag", "--settings")


def test_paths_in_a_file_begin_where_the_file_is() -> None:
    written('tls_cert = "tls/cert.pem"\ntls_key = "/run/key.pem"', "etc/node.toml")
    found = read_settings(Flags(settings_file=Path("etc/node.toml")), {})
    assert found.tls_cert.value == Path("etc/tls/cert.pem")
    assert found.tls_key.value == Path("/run/key.pem")


def test_the_line_is_that_on_which_a_key_begins() -> None:
    written(
        '# concurrency = 9\nstate_dir = """\\\n  /listen = x"""\n\n# listen = ":9"\n\n"listen" = ":7"\nbehind_tls_proxy = [\n  # one\n  "10.0.0.0/8",\n]\n'
        "concurrency = 3\n"
    )
    found = read_settings(Flags(), {})
    assert found.state_dir.name == "scopeward.toml:2"
    assert found.listen.name == "scopeward.toml:7"
    assert found.behind_tls_proxy.name == "scopeward.toml:8"
    assert found.concurrency.name == "scopeward.toml:12"


def test_a_file_that_is_named_must_be_there() -> None:
    error = refused("settings-file", Flags(settings_file=Path("gone.toml")))
    assert error.what == "'gone.toml': No such file or directory"
    refused("settings-file", environ={"SCOPEWARD_SETTINGS": "gone.toml"})


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("listn = ':1'", "scopeward.toml:1: there is no setting 'listn'", "Did you mean 'listen'?"),
        ("\ntls-cert = 'c'", "scopeward.toml:2: there is no setting 'tls-cert'", "Did you mean 'tls_cert'?"),
        ("[server]\nport = 1", "scopeward.toml:1: there is no setting 'server'", "The keys are listen, "),
        ("settings_file = 'other.toml'", "there is no setting 'settings_file'", ""),
        ("listen = 8080", "'listen' must be a text", ""),
        ("listen = ''", "'listen' must be a text, not empty", ""),
        ("state_dir = ['/s']", "'state_dir' must be a text", ""),
        ('state_dir = "/s\\u0000"', "without control characters", ""),
        ("concurrency = '4'", "'concurrency' must be a whole number", ""),
        ("concurrency = 4.0", "'concurrency' must be a whole number", ""),
        ("concurrency = true", "'concurrency' must be a whole number", ""),
        ("behind_tls_proxy = '10.0.0.0/8'", "'behind_tls_proxy' must be a list of texts", ""),
        ("behind_tls_proxy = []", "'behind_tls_proxy' must be a list of texts, not empty", ""),
        ("behind_tls_proxy = [10]", "'behind_tls_proxy' must be a list of texts", ""),
        ("listen = ", "'scopeward.toml' is not TOML: ", ""),
        ("listen = ':1'\nlisten = ':2'", "'scopeward.toml' is not TOML: ", ""),
    ],
)
def test_a_file_that_says_something_else(text: str, what: str, remedy: str) -> None:
    written(text)
    error = refused("settings-file")
    assert what in error.what
    assert remedy in error.remedy


def test_a_value_of_the_file_is_refused_with_its_place() -> None:
    written("\nconcurrency = 0")
    assert refused("settings-value").what == "concurrency (scopeward.toml:2): '0' is not a number of worker threads"
    written("listen = '127.0.0.1'")
    assert refused("address-not-usable").what.startswith("listen (scopeward.toml:1): ")


def test_a_file_that_is_no_text() -> None:
    Path("scopeward.toml").write_bytes(b"listen = '\xff'")
    assert "is not UTF-8" in refused("settings-file").what
    written("#" * 20_000)
    assert "larger than 16 KiB" in refused("settings-file").what
    os.mkfifo("pipe")
    assert "no regular file" in refused("settings-file", Flags(settings_file=Path("pipe"))).what
    Path("folder").mkdir()
    assert "Is a directory" in refused("settings-file", Flags(settings_file=Path("folder"))).what
    assert "no path" in refused("settings-file", Flags(settings_file=Path("a\0b"))).what


def test_a_file_that_nobody_named_must_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written("concurrency = 2")
    path.chmod(0o646)
    error = refused("settings-file")
    assert "everybody may write it" in error.what
    assert "--settings scopeward.toml" in error.remedy
    assert read_settings(Flags(settings_file=path), {}).concurrency.value == 2
    path.chmod(0o644)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    if owner != 0:
        refused("settings-file")
    else:
        assert read_settings(Flags(), {}).concurrency.value == 2, "root's is anybody's"


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        ("localhost:1", Listen("127.0.0.1", 1)),
        (":8080", Listen("127.0.0.1", 8080)),
        ("[::1]:65535", Listen("::1", 65535)),
        ("0.0.0.0:8443", Listen("0.0.0.0", 8443)),
        ("[::]:8443", Listen("::", 8443)),
        ("[0:0::1]:1", Listen("::1", 1)),
    ],
)
def test_addresses(text: str, listen: Listen) -> None:
    assert parse_gateway_address(text) == listen


@pytest.mark.parametrize("text", ["gateway.example:8080", "[::ffff:127.0.0.1]:8080", "127.0.0.1:0", ":0", "127.1:80", "1.2.3.4.5:1", "[1.2.3.4]:1x", "-:1"])
def test_no_addresses_of_a_node(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_gateway_address(text)
    assert caught.value.reference.id == "address-not-usable"


@pytest.mark.parametrize(
    "text",
    ["", "8080", "127.0.0.1", "127.0.0.1:", "::1:8080", "[::1]", "[::1:8080", "127.0.0.1:65536", "a b:1", "127.0.0.1:+1", "http://127.0.0.1:1", ":8080\n"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_address(text)
    assert caught.value.reference.id == "address-not-usable"
    assert "127.0.0.1:8080" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "proxies"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("10.1.2.3", ("10.1.2.3/32",)),
        ("10.1.2.3/32", ("10.1.2.3/32",)),
        ("FD00::/8 ,fd00::1", ("fd00::/8", "fd00::1/128")),
        ("10.0.0.0/8,10.0.0.0/8", ("10.0.0.0/8",)),
        ("0.0.0.0/1", ("0.0.0.0/1",)),
    ],
)
def test_proxies(text: str, proxies: tuple[str, ...]) -> None:
    assert parse_proxies(text) == proxies


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/8,0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "::/1,8000::/1"])
def test_everybody_is_no_proxy(text: str) -> None:
    with pytest.raises(ScopewardError, match="every address") as caught:
        parse_proxies(text)
    assert caught.value.reference.id == "address-not-usable"


@pytest.mark.parametrize(
    ("text", "canonical"), [("10.1.2.3/8", "10.0.0.0/8"), ("fd00::1/8", "fd00::/8"), ("10.0.0.0/255.0.0.0", "10.0.0.0/8"), ("fd00:0::/8", "fd00::/8")]
)
def test_a_cidr_that_is_not_canonical(text: str, canonical: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_proxies(text)
    assert f"Write {canonical}," in caught.value.remedy


@pytest.mark.parametrize("text", ["", "10.0.0.0/8,", "10.0.0.0/33", "proxy.example", "10.0.0", "010.0.0.0/8", "fe80::1%eth0/64", "::ffff:10.0.0.0/104", "*"])
def test_what_is_no_cidr(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_proxies(text)
    assert caught.value.reference.id == "address-not-usable"


@pytest.mark.parametrize("text", ["0", "-1", "1025", "1.5", "many", "", "٣", " 1", "1\n"])
def test_what_is_no_concurrency(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_concurrency(text)
    assert caught.value.reference.id == "settings-value"
    assert (parse_concurrency("1"), parse_concurrency("1024")) == (1, 1024)


def test_a_bad_value_of_the_environment_names_the_variable() -> None:
    assert refused("address-not-usable", environ={"SCOPEWARD_LISTEN": "nonsense"}).what == "SCOPEWARD_LISTEN: 'nonsense' is not HOST:PORT"
    assert refused("address-not-usable", environ={"SCOPEWARD_BEHIND_TLS_PROXY": "0.0.0.0/0"}).what.startswith("SCOPEWARD_BEHIND_TLS_PROXY: ")
    assert refused("settings-value", environ={"SCOPEWARD_CONCURRENCY": "x"}).what.startswith("SCOPEWARD_CONCURRENCY: ")


def test_urls() -> None:
    assert Listen("::1", 9).url() == "http://[::1]:9"
    assert Listen("127.0.0.1", 9).url(tls=True) == "https://127.0.0.1:9"
    assert read_settings(Flags(), {}).url == "http://127.0.0.1:8080"
    assert read_settings(Flags(listen="0.0.0.0:8443", **TLS), {}).url == "https://127.0.0.1:8443"
    assert read_settings(Flags(listen="[::]:80", behind_tls_proxy=("10.0.0.1",)), {}).url == "http://[::1]:80"


# ── combinations ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "[fd00::1]:8080"])
def test_off_loopback_it_needs_tls_or_a_proxy_that_ends_it(listen: str) -> None:
    error = refused("address-not-usable", Flags(listen=listen))
    assert error.what.startswith("--listen: ")
    assert "--tls-cert" in error.remedy
    assert "--behind-tls-proxy" in error.remedy
    assert read_settings(Flags(listen=listen, **TLS), {})
    assert read_settings(Flags(listen=listen, behind_tls_proxy=("10.0.0.2",)), {})


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_on_loopback_it_needs_nothing(listen: str) -> None:
    assert read_settings(Flags(listen=listen), {})
    assert read_settings(Flags(listen=listen, **TLS), {})
    assert read_settings(Flags(listen=listen, behind_tls_proxy=("127.0.0.1",)), {})


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (Flags(tls_cert=Path("c")), "--tls-cert is set and --tls-key is not"),
        (Flags(tls_key=Path("k")), "--tls-key is set and --tls-cert is not"),
        (Flags(**TLS, behind_tls_proxy=("10.0.0.1",)), "--tls-cert says that TLS ends here, --behind-tls-proxy that it ended before"),
        (Flags(tls_client_ca=Path("a")), "--tls-client-ca is set, and without --tls-cert"),
        (Flags(tls_client_ca=Path("a"), behind_tls_proxy=("10.0.0.1",)), "--tls-client-ca is set, and without --tls-cert"),
        (Flags(ops_listen=":8080"), "--ops-listen and --listen (default) are one port"),
        (Flags(ops_listen="0.0.0.0:8080"), "are one port"),
        (Flags(listen="0.0.0.0:1", ops_listen="127.0.0.1:1", **TLS), "are one port"),
    ],
)
def test_what_contradicts(flags: Flags, what: str) -> None:
    assert what in refused("settings-contradict", flags).what


@pytest.mark.parametrize("ops", [":8081", "0.0.0.0:8081", "[::1]:8080", "[::]:8080", "127.0.0.2:8080"])
def test_ops_may_be_anywhere_else(ops: str) -> None:
    assert read_settings(Flags(ops_listen=ops), {}).ops_listen.value is not None


def test_a_contradiction_names_both_places() -> None:
    written("behind_tls_proxy = ['10.0.0.1']")
    error = refused("settings-contradict", Flags(tls_key=Path("k")), {"SCOPEWARD_TLS_CERT": "c"})
    assert error.what.startswith("SCOPEWARD_TLS_CERT says that TLS ends here, behind_tls_proxy (scopeward.toml:1) that")


# ── what is promised ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_lists_every_setting() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8").partition("| Flag |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines()[2:]]
    shown = {(flag.strip("`").split()[0].strip("`"), variable, key) for flag, variable, key in rows}
    names = [name for name, *_ in EACH]
    wanted = {("POLICY" if n == "policy" else f"--{n.replace('_', '-')}", f"`SCOPEWARD_{n.upper()}`", f"`{n}`") for n in names}
    assert shown == wanted | {("--settings", "`SCOPEWARD_SETTINGS`", "")}

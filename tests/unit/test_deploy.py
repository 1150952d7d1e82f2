"""The deployment files: they parse, what they name exists, and they keep to what the guide says of them."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from scopeward.analysis.checks import check
from scopeward.cli import cli
from scopeward.policy.source import Loaded, load
from scopeward.settings import Flags, read_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def parsed(words: list[str]) -> click.Context:
    """The command's words as the program takes them; raises where it does not."""
    name, *rest = words
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command.make_context(name, list(rest), parent=click.Context(cli))


# ── systemd ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """The [Service] section: each key with all of its values."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (DEPLOY / "scopeward.service").read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_is_well_formed() -> None:
    config = configparser.RawConfigParser(strict=False)
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read_string((DEPLOY / "scopeward.service").read_text())
    assert config.sections() == ["Unit", "Service", "Install"]


def test_the_unit_runs_a_command_that_exists(unit: dict[str, list[str]]) -> None:
    program, *words = unit["ExecStart"][0].split()
    assert Path(program).name == "scopeward"
    parsed(words)
    variables = {value.partition("=")[0] for value in unit["Environment"]}
    assert {"SCOPEWARD_SETTINGS", "SCOPEWARD_STATE_DIR"} <= variables


def test_the_unit_lets_envoy_outlive_the_warden(unit: dict[str, list[str]]) -> None:
    assert unit["KillMode"] == ["process"]
    assert unit["Restart"] == ["always"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert "ProcSubset" not in unit, "the boot's id is below /proc/sys"


def test_the_unit_gives_no_more_than_is_needed(unit: dict[str, list[str]]) -> None:
    wanted = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes", "CapabilityBoundingSet": "", "UMask": "0077", "LimitCORE": "0"}
    assert {key: unit[key][0] for key in wanted} == wanted
    assert unit["User"] == ["scopeward"]
    assert unit["StateDirectory"] == ["scopeward"]
    assert int(unit["LimitNOFILE"][0]) >= 65536


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "scopeward.service").read_text().replace("/opt/scopeward/bin/scopeward", "/bin/true")
    path = tmp_path / "scopeward.service"
    path.write_text(text)
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_example_of_settings_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_settings(Flags(settings_file=DEPLOY / "scopeward.toml"), {})
    assert found.tls_cert.value == Path("/etc/scopeward/tls/cert.pem")
    text = (DEPLOY / "scopeward.toml").read_text()
    told = tmp_path / "all.toml"
    told.write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE).replace('listen = "0.0.0.0:8443"\n', "", 1).replace("behind_tls_proxy", "# ", 1))
    assert read_settings(Flags(settings_file=told), {}).concurrency.value == 4, "what is commented out is right too"


# ── the image ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instruction and rest, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def all_of(dockerfile: list[tuple[str, str]], instruction: str) -> list[str]:
    return [rest for name, rest in dockerfile if name == instruction]


def test_what_the_image_copies_exists_and_is_not_ignored(dockerfile: list[tuple[str, str]]) -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for rest in all_of(dockerfile, "COPY") if not rest.startswith("--from=") for source in rest.split()[:-1]}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)
    assert not all_of(dockerfile, "ADD")


def test_the_image_is_not_root_s(dockerfile: list[tuple[str, str]]) -> None:
    assert all_of(dockerfile, "USER")[-1] == "10001:10001"
    names = [name for name, _ in dockerfile]
    assert names.index("USER") > max(number for number, name in enumerate(names) if name in {"COPY", "RUN"})


def test_the_image_installs_only_what_is_locked(dockerfile: list[tuple[str, str]]) -> None:
    for run in all_of(dockerfile, "RUN"):
        for command in re.findall(r"pip (?:install|wheel)[^&]*", run):
            assert "--require-hashes" in command or ("--no-index" in command and "--no-deps" in command), command


def test_the_image_holds_no_secret(dockerfile: list[tuple[str, str]]) -> None:
    said = " ".join(all_of(dockerfile, "ENV") + all_of(dockerfile, "ARG"))
    assert not re.search("secret|password|token|key", said, re.IGNORECASE)


def test_the_image_starts_the_program_itself(dockerfile: list[tuple[str, str]]) -> None:
    assert json.loads(all_of(dockerfile, "ENTRYPOINT")[0]) == ["scopeward"], "in the exec form: a shell would not pass SIGTERM on"
    parsed(json.loads(all_of(dockerfile, "CMD")[-1]))
    health = json.loads(all_of(dockerfile, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert "/readyz" in health[2]
    compile(health[2], "HEALTHCHECK", "exec")
    assert "SCOPEWARD_OPS_LISTEN=127.0.0.1:8081" in all_of(dockerfile, "ENV")[0]


# ── the demo in containers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def test_compose_runs_commands_that_exist(services: dict[str, dict[str, Any]]) -> None:
    for name in ("certificate", "provider", "gateway"):
        parsed(services[name]["command"])
    assert services["orders"]["entrypoint"][0] == "python"


def test_only_the_gateway_s_port_is_published_and_only_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {"provider": ["127.0.0.1:8080:8080"]}
    assert "0.0.0.0:8080" in services["gateway"]["command"]


def test_one_loopback_is_shared_and_its_owner_needs_nobody(services: dict[str, dict[str, Any]]) -> None:
    assert services["orders"]["network_mode"] == services["gateway"]["network_mode"] == "service:provider"
    assert "network_mode" not in services["provider"]
    assert "depends_on" not in services["provider"], "it must run before the others can join its network"
    assert {"provider", "certificate", "orders"} == set(services["gateway"]["depends_on"])


def test_every_container_is_confined(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_the_volumes_and_files_of_compose_exist(services: dict[str, dict[str, Any]]) -> None:
    volumes = set(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["volumes"])
    used = set()
    for service in services.values():
        for source, target, *_ in (mount.split(":") for mount in service.get("volumes", [])):
            assert target.startswith("/")
            if source.startswith("."):
                assert (DEPLOY / source).is_dir()
            else:
                used.add(source)
    assert used == volumes
    build = services["gateway"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()


def test_the_policy_of_compose_fits_its_containers(services: dict[str, dict[str, Any]]) -> None:
    text = (DEPLOY / "demo/scopeward.yaml").read_bytes()
    loaded = load(text, "scopeward.yaml")
    assert isinstance(loaded, Loaded), loaded
    assert not [d for d in check(loaded) if d.severity != "note"]
    said = yaml.safe_load(text)
    orders = _orders_api()
    assert said["public_url"] == orders.PUBLIC_URL
    assert said["apis"]["orders"]["upstream"] == f"http://127.0.0.1:{orders.PORT}"
    assert orders.AUTHORITY.startswith("/certificates/")
    provider = parsed(services["provider"]["command"]).params
    assert said["issuers"]["dev"]["issuer"] == f"http://{provider['listen']}"
    assert said["issuers"]["dev"]["audience"] == provider["audience"]


def _orders_api() -> Any:
    spec = importlib.util.spec_from_file_location("compose_orders_api", DEPLOY / "demo/orders_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.app()
    return module

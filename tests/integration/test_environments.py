"""A policy of several files and environments on a real node: applied, run, followed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.ground import Place, service_token
from tests.kit.commands import Shell, call, until
from tests.kit.gateway import free_port
from tests.kit.upstream import RecordingUpstream

ROOT = """\
version: 1
include: teams/*.yaml
environments:
  dev:  {{upstream: "{upstream}", of: orders}}
  prod: {{upstream: "https://orders.example", of: orders-prod}}
public_url: http://127.0.0.1:8080
issuers:
  idp: {{issuer: "{issuer}", person: {{claim: idtyp, is: user}}}}
clients:
  order-sync: {{kind: service, id: {{dev: order-sync, prod: another}}}}
"""
ORDERS = """\
team: orders
scopes:
  read.orders: {says: Read orders}
apis:
  orders:
    at: /orders
    audience: api://${env.of}
    upstream: ${env.upstream}
    rules:
      GET /**: {needs: read.orders}
"""


def written(folder: Path, issuer: str, upstream: str) -> Path:
    (folder / "teams").mkdir()
    (folder / "teams" / "orders.yaml").write_text(ORDERS)
    path = folder / "scopeward.yaml"
    path.write_text(ROOT.format(issuer=issuer, upstream=upstream))
    return path


def test_a_node_of_one_environment(shell: Shell, tmp_path: Path, development_provider: str, api: RecordingUpstream) -> None:
    place = Place(shell, written(tmp_path, development_provider, api.url), tmp_path / "state")
    team, port = tmp_path / "teams" / "orders.yaml", free_port()
    assert "error[env-needed]" in place.command("apply", place.policy).err
    applied = place.command("apply", place.policy, "--env", "dev")
    assert re.fullmatch(r"policy [0-9a-f]{12} for dev is applied; no node runs here: 'scopeward run' serves it\n", applied.out), applied.err
    with shell.start("run", "--listen", f":{port}", "--state-dir", place.state, "--env", "dev") as process:
        process.says("^serving policy [0-9a-f]{12} for dev$")
        process.says("^  orders: ")
        url, token = f"http://127.0.0.1:{port}/orders/42", service_token(development_provider)
        assert call(url, token) == (200, None)
        assert place.kept("in-force.json")["environment"] == "dev"
        team.write_text(ORDERS.replace("read.orders}\n", "read.orders, to: people}\n"))
        again = place.command("apply", place.policy, "--env", "dev")
        assert again.out.endswith(" for dev is in force, confirmed by Envoy\n"), again.err
        assert call(url, token) == (403, "kind-not-allowed")
        before = (place.state / "applied" / "policy.yaml").read_bytes()
        other = place.command("apply", place.policy, "--env", "prod")
        assert (other.status, "error[env-other]: the running node refused the policy" in other.err) == (3, True), other.err
        assert (place.state / "applied" / "policy.yaml").read_bytes() == before
        assert call(url, token) == (403, "kind-not-allowed")
        until(lambda: " for dev, in force for" in place.command("status").out, "the environment in the status")
        assert place.command("status", "-o", "json").json["policy_file"] == "same"
    refused = place.command("run", "--listen", f":{port}", "--env", "prod")
    assert (refused.status, "error[env-other]" in refused.err) == (3, True), refused.err
    with shell.start("run", "--listen", f":{port}", "--state-dir", place.state) as process:
        process.says("^serving policy [0-9a-f]{12} for dev$")
        process.says("^  orders: ")


def test_dev_follows_all_files(shell: Shell, tmp_path: Path, development_provider: str, api: RecordingUpstream) -> None:
    path, port = written(tmp_path, development_provider, api.url), free_port()
    url = f"http://127.0.0.1:{port}/stock/1"
    with shell.start("dev", path, "--env", "dev", "--listen", f":{port}", "--state-dir", tmp_path / "state") as process:
        process.says("^policy [0-9a-f]{12} for dev is in force$")
        process.says("Ctrl-C ends$")
        assert call(url) == (404, "api-not-found")
        stock = ORDERS.replace("orders", "stock").replace("api://${env.of}", "api://stock-${env.of}")
        (tmp_path / "teams" / "stock.yaml").write_text(stock)
        process.says("^in force: policy [0-9a-f]{12} for dev$")
        assert call(url) == (401, "token-missing")
        (tmp_path / "teams" / "stock.yaml").write_text("team: stock\nnonsense: 1\n")
        process.says(r"^teams/stock\.yaml:2:1: error\[policy-unknown-key\]", err=True)
        process.says("^not applied; what was in force stays$", err=True)
        assert call(url) == (401, "token-missing")

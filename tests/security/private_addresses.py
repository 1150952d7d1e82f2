"""Row 23 of the catalogue: no call is believed more for coming from a private address. In its own command, since it needs such addresses.

``python -m tests.security.private_addresses``, as root on Linux: makes a network namespace of its own, gives its loopback the addresses, and runs
the tests below in it. Nothing of the machine's network changes.
"""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scopeward.envoy.place import Listen, Place
from tests.kit.gateway import Answer, free_port, read_answer
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.upstream import Seen
from tests.kit.wire import head
from tests.security.conftest import NamedGateway, Upstreams

INSIDE = "SCOPEWARD_TEST_NAMESPACE"
ADDRESSES = ("10.1.2.3/8", "172.16.5.6/12", "192.168.7.8/16", "169.254.9.9/16", "100.64.1.1/10", "fd00::23/64")
SOURCES = tuple(address.partition("/")[0] for address in ADDRESSES)
READ, HEALTH = "/orders/v1/42", "/orders/v1/health"
TOLD = {
    "x-envoy-internal": "true",
    "x-envoy-original-path": HEALTH,
    "x-envoy-original-host": "evil.example",
    "x-envoy-external-address": "203.0.113.9",
    "x-envoy-decorator-operation": "evil",
    "x-envoy-force-trace": "true",
    "x-envoy-ip-tags": "evil",
    "x-envoy-downstream-service-cluster": "evil",
    "x-envoy-downstream-service-node": "evil",
    "x-envoy-upstream-alt-stat-name": "evil",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-attempt-count": "9",
    "x-envoy-is-timeout-retry": "true",
    "x-envoy-peer-metadata": "evil",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "203.0.113.9",
}


def main() -> int:
    """The command. What it lacks it says, and ends with status 2."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return _cannot("must be root on Linux, to make a network namespace")
    missing = [program for program in ("unshare", "ip") if shutil.which(program) is None]
    if missing:
        return _cannot(f"needs {' and '.join(missing)}")
    words = ["unshare", "--net", "--", sys.executable, "-c", f"from {__spec__.name if __spec__ else __name__} import inside; raise SystemExit(inside())"]
    return subprocess.run(words, env=os.environ | {INSIDE: "1"}, check=False).returncode


def _cannot(why: str) -> int:
    print(f"private addresses: left out: {why}", file=sys.stderr)
    return 2


def inside() -> int:
    """The same, within the namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])], check=True)
    options = ("-p", "no:cacheprovider", f"--allow-hosts=127.0.0.1,::1,{','.join(SOURCES)}")
    return subprocess.run([sys.executable, "-m", "pytest", str(Path(__file__)), *options], check=False).returncode


@pytest.fixture(scope="module", params=["0.0.0.0", "::"])
def everywhere(request: pytest.FixtureRequest, policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamedGateway]:
    """A node that listens on all addresses of the namespace of one version of IP."""
    if INSIDE not in os.environ:
        pytest.skip("run 'python -m tests.security.private_addresses'")
    place = Place(Listen(request.param, free_port()))
    with NamedGateway(tmp_path_factory.mktemp("node"), policy, jwks(signing_key()), place=place) as running:
        yield running


def call(gateway: NamedGateway, source: str, path: str, *fields: str) -> Answer:
    """A call from a private address, to that address."""
    with socket.create_connection((source, gateway.port), timeout=5, source_address=(source, 0)) as connection:
        connection.sendall(head(f"GET {path} HTTP/1.1", "Host: gw.example", *fields))
        return read_answer(connection)


def is_a_strangers(seen: Seen, source: str) -> None:
    """What the upstream got says nothing that the caller said of itself."""
    assert seen.all("x-forwarded-for") == [source]
    assert seen.all("x-forwarded-proto") == ["http"]
    assert not [name for name, _ in seen.headers if name.lower().startswith("x-envoy-")]
    assert b"evil" not in seen.raw
    assert b"203.0.113.9" not in seen.raw


def sources(gateway: NamedGateway) -> list[str]:
    """The private addresses of the version of IP at which the node listens."""
    return [source for source in SOURCES if (":" in source) == (":" in gateway.node.place.listen.host)]


@pytest.mark.parametrize("name", TOLD)
def test_T23_nothing_is_believed_of_a_private_address(name: str, everywhere: NamedGateway, mint: Mint, upstreams: Upstreams) -> None:
    field = f"{name}: {TOLD[name]}"
    calls = ((READ, "api://orders", upstreams.orders), (HEALTH, "api://orders", upstreams.orders), ("/raw/1", "api://raw", upstreams.raw))
    for source in sources(everywhere):
        for path, audience, upstream in calls:
            assert call(everywhere, source, path, f"Authorization: Bearer {mint.token(aud=audience)}", field).status == 200
            is_a_strangers(upstream.seen[-1], source)
        with upstreams.orders.sees_nothing():
            assert call(everywhere, source, READ, field).reference == "token-missing"
            assert call(everywhere, source, READ, f"Authorization: Bearer {mint.token(scope='x')}", field).reference == "scope-missing"


def test_T23_a_private_address_sets_no_timeout_and_no_retry(everywhere: NamedGateway, upstreams: Upstreams) -> None:
    patient = [f"x-envoy-upstream-rq-{kind}timeout-ms: 5000" for kind in ("", "per-try-")]
    for source in sources(everywhere):
        assert call(everywhere, source, "/slow", *patient).reference == "upstream-timeout"
        before = upstreams.closing.accepted
        assert call(everywhere, source, "/closing", "x-envoy-retry-on: 5xx,reset,connect-failure", "x-envoy-max-retries: 5").reference == "upstream-failed"
        assert upstreams.closing.accepted == before + 1


if __name__ == "__main__":
    raise SystemExit(main())

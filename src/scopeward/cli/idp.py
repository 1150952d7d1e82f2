"""``scopeward idp``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click
import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from scopeward.app import SystemClock
from scopeward.cli.options import FILE, Duration, examples, settings_options
from scopeward.cli.output import clean, say, strong
from scopeward.errors import ScopewardError
from scopeward.idp.documents import cause_of, is_loopback
from scopeward.issuer import (
    ROTATIONS,
    Accounts,
    ProviderOptions,
    Rotation,
    SigningKeys,
    default_accounts,
    development_provider,
    load_accounts,
    load_admin_token,
    open_loopback_socket,
    provider_server,
)
from scopeward.issuer.options import Algorithm, ScopeForm
from scopeward.private_file import read_private, write_private
from scopeward.secret import Secret
from scopeward.settings import Settings, parse_address

FOLDER = "idp"
"""Of the state directory; the rest of that is the node's."""
ISSUER_FILE = "issuer"
"""Where a provider says what it calls itself, for ``rotate``."""


class _Rotated(BaseModel):
    """What /dev/rotate answers: the ``kid`` that signs, and all that are published."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    signing: str
    published: list[str]


@click.group("idp", invoke_without_command=True)
@examples(
    "scopeward idp",
    "scopeward idp --listen :9400 --accounts people.yaml --lifetime 1h",
    "scopeward idp rotate --mode publish",
)
@click.option("--listen", default="127.0.0.1:9000", show_default=True, metavar="HOST:PORT", help="Where it listens, on loopback only; port 0 takes a free one.")
@click.option("--accounts", type=FILE, help="A YAML file of people and clients. [default: those of the demo]")
@click.option("--audience", default="http://127.0.0.1:8080", show_default=True, help="What 'aud' names where a client asks for no resource.")
@click.option("--lifetime", type=Duration(), default="5m", show_default=True, metavar="TIME", help="Of tokens, at most 1d.")
@click.option("--alg", type=click.Choice(["RS256", "ES256"]), default="RS256", show_default=True, help="How tokens are signed.")
@click.option("--scope-form", type=click.Choice(["string", "array"]), default="string", show_default=True, help="'scope' as text, or 'scp' as a list.")
@settings_options("state_dir")
@click.pass_context
def command(
    ctx: click.Context, listen: str, accounts: Path | None, audience: str, lifetime: int, alg: Algorithm, scope_form: ScopeForm, settings: Settings
) -> None:
    """Run the development identity provider until it is interrupted.

    It signs in anybody of its accounts without a password, so it listens on loopback only and is good for development alone. Its keys
    outlive it in the state directory.
    """
    ctx.obj = settings.state_dir.value
    if ctx.invoked_subcommand is not None:
        return
    known = _read_accounts(accounts)
    state_dir = _state_folder(settings)
    address = parse_address(listen)
    with open_loopback_socket(address.host, address.port) as listener:
        bound = type(address)(address.host, listener.getsockname()[1])
        options = ProviderOptions(bound.url(), audience, lifetime, alg, scope_form)
        keys = SigningKeys.load(state_dir, alg)
        app = development_provider(known, keys, options, SystemClock(), load_admin_token(state_dir))
        write_private(state_dir / ISSUER_FILE, options.issuer + "\n")
        _introduce(options, known)
        _until_told(lambda: provider_server(app).run(sockets=[listener]))


@command.command("rotate")
@examples("scopeward idp rotate", "scopeward idp rotate --mode promote", "scopeward idp rotate --mode hard")
@click.option("--mode", type=click.Choice(ROTATIONS), default="publish", show_default=True, help="The step to take.")
@settings_options("state_dir")
@click.pass_obj
def rotate(outer: Path, mode: Rotation, settings: Settings) -> None:
    """Rotate the keys of the development provider that runs in the state directory.

    'publish' shows a new key before it signs, 'promote' lets it sign, 'drop' takes old keys away: no good token is lost. 'hard'
    replaces all keys at once, as after a compromise.
    """
    state_dir = (settings.state_dir.value if settings.state_dir.origin == "flag" else outer) / FOLDER
    issuer = (read_private(state_dir / ISSUER_FILE) or "").strip()
    if not issuer:
        raise ScopewardError("idp-unreachable", f"no development provider has run in '{state_dir}'", "Start it with 'scopeward idp'.")
    answer = _ask_rotation(issuer, mode, load_admin_token(state_dir))
    say(f"{mode}: signing {strong(clean(answer.signing))}; published {clean(', '.join(answer.published))}")


def _read_accounts(path: Path | None) -> Accounts:
    if path is None:
        return default_accounts()
    try:
        return load_accounts(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ScopewardError("accounts-invalid", f"'{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScopewardError("accounts-invalid", f"'{path}' is not UTF-8") from None


def _state_folder(settings: Settings) -> Path:
    """The provider's folder; the state directory above it is made private too."""
    root = settings.state_dir.value
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ScopewardError("state-unwritable", f"'{root}': {error.strerror}") from None
    return root / FOLDER


def _introduce(options: ProviderOptions, accounts: Accounts) -> None:
    """Who it is and whom it knows: names, never secrets."""
    say(f"development identity provider: {strong(options.issuer)}\n\npeople (no password is asked)")
    for person in accounts.people.values():
        say(f"  {strong(f'{person.name:<16}')} {clean(person.full_name)}")
    say("clients")
    for client in accounts.clients.values():
        how = "public" if client.secret is None else "with a secret"
        say(f"  {strong(f'{client.client_id:<16}')} {how}; {', '.join(client.grants)}; {clean(' '.join(client.scopes))}")
    say("\nCtrl-C ends it.")


def _until_told(run: Callable[[], None]) -> None:
    """Run a server to its end by SIGINT or SIGTERM, which is how it should end, and no error.

    uvicorn shuts down at these signals and then raises them again for whoever would handle them without it.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with suppress(KeyboardInterrupt):
            run()
        say("ended", err=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask_rotation(issuer: str, mode: Rotation, admin_token: Secret) -> _Rotated:
    if not is_loopback(httpx2.URL(issuer).host):  # the token goes nowhere else, whatever the file says
        raise ScopewardError("address-not-usable", f"'{clean(issuer)}' is not on loopback")
    try:
        with httpx2.Client(trust_env=False, timeout=5.0, follow_redirects=False) as client:
            answer = client.post(f"{issuer}/dev/rotate", params={"mode": mode}, headers={"Authorization": f"Bearer {admin_token.reveal()}"})
    except httpx2.HTTPError as error:
        raise ScopewardError("idp-unreachable", f"{issuer}: {cause_of(error)}", "Start it with 'scopeward idp'.") from None
    if answer.status_code != 200:
        raise ScopewardError("idp-document", f"{issuer} answers with status {answer.status_code}", "Give the state directory of the provider that runs there.")
    try:
        return _Rotated.model_validate_json(answer.content)
    except ValidationError:
        raise ScopewardError("idp-document", f"{issuer} is not a development provider") from None

"""``scopeward revoke``."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from scopeward.analysis.gateway import Revocation, RevokedWhat
from scopeward.app import SystemClock
from scopeward.audit.expiry import find_expiry
from scopeward.audit.files import FOLDER
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, clean, print_json, say
from scopeward.envoy.state_dir import APPLIED, IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.policy.source import Loaded, load_files
from scopeward.policy_files import read_policy
from scopeward.revocation import Asked, Entry, RevocationBook
from scopeward.revocation.book import require_text
from scopeward.revocation.entry import OUTLIVES
from scopeward.revocation.instant import read_absolute, read_instant, write_instant
from scopeward.revocation.names import Names
from scopeward.settings import Settings
from scopeward.status.file import read_status
from scopeward.store import STORE_FILE, Store

PATIENCE: Final = 5.0
"""Seconds in which a running node must confirm."""
POLL: Final = 0.02
LATEST_ISSUE: Final = 86_400
"""Seconds from now: a cut-over may be prepared a day before."""
LATEST_EXPIRY: Final = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Words:
    """What the command line said."""

    issuer: str | None
    token_id: str | None
    client: str | None
    subject: str | None
    issued_before: str | None
    expires: str | None
    until_undone: bool
    reason: str | None

    def what(self) -> tuple[RevokedWhat, str]:
        """The one thing that is to be revoked, as it was written. Errors: ``revocation-invalid``."""
        said: dict[RevokedWhat, str | None] = {"token-id": self.token_id, "client": self.client, "subject": self.subject, "issuer": self.issued_before}
        given = [(what, text) for what, text in said.items() if text is not None]
        if len(given) != 1:
            how = "not stated" if not given else "stated more than once"
            raise ScopewardError("revocation-invalid", f"what is to be revoked is {how}", "Give one of --token-id, --client, --subject and --issued-before.")
        return given[0]


@click.group("revoke", invoke_without_command=True)
@examples(
    "scopeward revoke --token-id 5f0c8e2a --reason 'laptop stolen'",
    "scopeward revoke --client order-sync",
    "scopeward revoke --subject 00u1a2b3 --until-undone",
    "scopeward revoke --issuer main --issued-before 2026-11-24T10:00:00Z",
)
@click.option("--issuer", metavar="NAME|URL", help="Whose tokens: its name in the policy, or the tokens' 'iss'. [default: the policy's only issuer]")
@click.option("--token-id", metavar="JTI", help="One token, by its 'jti'.")
@click.option("--client", metavar="NAME|ID", help="A client's tokens: its name in the policy, or its client id.")
@click.option("--subject", metavar="SUB", help="A subject's tokens, by their 'sub'.")
@click.option(
    "--issued-before", metavar="TIME", help="All of the issuer's tokens that were issued before: 2026-11-24T10:00:00Z, seconds since 1970, 'now', or 5m ago."
)
@click.option("--expires", metavar="TIME", help="The token's 'exp', with --token-id. [default: from the audit lines, else it is kept until undone]")
@click.option("--until-undone", is_flag=True, help="Tokens issued later too (with --token-id: also when its 'exp' is known).")
@click.option("--reason", metavar="TEXT", help="Why, for whoever reads the list.")
@settings_options("state_dir")
@output_option
@click.pass_context
def command(ctx: click.Context, /, settings: Settings, output: OutputFormat, **said: Any) -> None:
    """Revoke tokens: the next call with one is refused with token-revoked.

    --client and --subject mean the tokens that were issued up to now. A node that runs on the state directory takes the revocation at once, and
    the command waits until it is in force; else it is in force when the node starts.
    """
    ctx.obj = settings.state_dir.value if settings.state_dir.origin == "flag" else None
    if ctx.invoked_subcommand is not None:
        _refuse_options_before(ctx)
        return
    words = Words(**said)
    _refuse_options_that_do_not_fit(words)
    words.what()  # nonsense makes no state directory
    state, clock = StateDir(settings.state_dir.value), SystemClock()
    asked, note = _understand(words, state, clock.now())
    with Store(state.root / STORE_FILE, clock) as store:
        entry = RevocationBook(store, clock).add(asked.revocation, ends_at=asked.ends_at, reason=asked.reason)
    _tell("revoked", entry, _await(state, entry), state, output, note)


@command.command("list")
@examples("scopeward revoke list", "scopeward revoke list --all -o json")
@click.option("--all", "everything", is_flag=True, help="Also those that were undone, or whose token expired.")
@settings_options("state_dir")
@output_option
@click.pass_obj
def list_(outer: Path | None, everything: bool, settings: Settings, output: OutputFormat) -> None:
    """List the revocations that are in force, the oldest first."""
    clock = SystemClock()
    with Store(StateDir(_state_dir(settings, outer)).root / STORE_FILE, clock) as store:
        entries = RevocationBook(store, clock).entries(include_undone=everything)
    if output == "json":
        print_json({"revocations": [_shown(entry) for entry in entries]})
        return
    for entry in entries:
        say(_line(entry, clock.now()))
    if not entries:
        say("nothing is revoked")


@command.command("undo")
@examples("scopeward revoke undo 7")
@click.argument("number", type=int)
@settings_options("state_dir")
@output_option
@click.pass_obj
def undo(outer: Path | None, number: int, settings: Settings, output: OutputFormat) -> None:
    """Take a revocation back. NUMBER is the one that 'revoke' and 'revoke list' show.

    Another revocation that covers the same tokens stays.
    """
    state, clock = StateDir(_state_dir(settings, outer)), SystemClock()
    with Store(state.root / STORE_FILE, clock) as store:
        entry = RevocationBook(store, clock).undo(number)
    _tell("undone", entry, _await(state, entry), state, output)


def _state_dir(settings: Settings, outer: Path | None) -> Path:
    """``--state-dir`` may stand before the subcommand too."""
    return settings.state_dir.value if outer is None or settings.state_dir.origin == "flag" else outer


def _refuse_options_before(ctx: click.Context) -> None:
    """``revoke --client c list`` would else say nothing of the client, and revoke nothing. Errors: ``click.UsageError``."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name != "state_dir" and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} does not go before '{ctx.invoked_subcommand}'", ctx)


def _refuse_options_that_do_not_fit(words: Words) -> None:
    """Errors: ``click.UsageError``."""
    if words.expires is not None and words.token_id is None:
        raise click.UsageError("--expires goes with --token-id only")
    if words.until_undone and words.expires is not None:
        raise click.UsageError("--expires and --until-undone exclude each other")
    if words.until_undone and words.issued_before is not None:
        raise click.UsageError("--until-undone does not go with --issued-before")


def _understand(words: Words, state: StateDir, now: float) -> tuple[Asked, str | None]:
    """What is to be kept, and what to tell about how it was understood. Errors: ``revocation-invalid``."""
    names = _names(state)
    what, text = words.what()
    require_text("time" if what == "issuer" else what.replace("-", " "), text)
    until_now = None if words.until_undone else math.floor(now) + 1  # 'iat' counts whole seconds, and this one may have tokens already
    match what:
        case "token-id":
            issuer = names.issuer(words.issuer)
            return Asked(Revocation(issuer, what, text), _ends_at(words, text, names.issuer_name(issuer), state, now), words.reason), None
        case "client":
            meant = names.client(text, words.issuer)
            how = "taken as a client id" if meant.name is None else f"'{meant.name}' is a client's name in the policy"
            return Asked(Revocation(meant.issuer, what, meant.client_id, until_now), None, words.reason), how
        case "subject":
            return Asked(Revocation(names.issuer(words.issuer), what, text, until_now), None, words.reason), None
        case "issuer":
            before = read_instant("--issued-before", text, now, now + LATEST_ISSUE)
            return Asked(Revocation(names.issuer(words.issuer), what, before=before), None, words.reason), None


def _ends_at(words: Words, token_id: str, issuer: str | None, state: StateDir, now: float) -> int | None:
    """The token's ``exp``, as it was said, else as the audit lines say. Errors: ``revocation-invalid``, also where it is long past."""
    if words.until_undone:
        return None
    if words.expires is not None:
        found: int | None = read_absolute("--expires", words.expires, now + LATEST_EXPIRY)
    else:
        found = None if issuer is None else find_expiry(state.root / FOLDER, issuer, token_id)
    if found is not None and found + OUTLIVES <= now:
        remedy = "It is refused without a revocation. If other tokens have the same id, use --until-undone."
        raise ScopewardError("revocation-invalid", f"the token expired at {write_instant(found)}", remedy)
    return found


def _names(state: StateDir) -> Names:
    """Of the policy that was applied, else what the node that runs here says of itself; else none."""
    try:
        files = read_policy(state.root / APPLIED)
    except ScopewardError as error:
        return _names_told(state) if error.reference.id == "policy-unreadable" else Names()
    loaded = load_files(files.files, files.root, files.env)
    return Names.of(loaded.policy) if isinstance(loaded, Loaded) else Names()


def _names_told(state: StateDir) -> Names:
    """A node of ``scopeward dev`` follows a file that is elsewhere and may have changed since."""
    try:
        status = read_status(state.root) if state.is_locked() else None
    except ScopewardError:
        return Names()
    return Names() if status is None else Names({issuer.name: issuer.issuer for issuer in status.issuers})


def _await(state: StateDir, entry: Entry) -> int | None:
    """Milliseconds until the running node had it in force; ``None`` without one. Errors: ``revocation-not-confirmed``."""
    if not state.is_locked():
        return None
    begin = time.monotonic()
    while time.monotonic() < begin + PATIENCE:
        said = (state.read_json(IN_FORCE) or {}).get("revocations")
        if isinstance(said, int) and said >= entry.sequence:
            return round((time.monotonic() - begin) * 1000)
        time.sleep(POLL)
    what = f"revocation {entry.number} is stored, and the running node did not confirm within {PATIENCE:g} s that the change is in force"
    raise ScopewardError("revocation-not-confirmed", what)


def _tell(done: str, entry: Entry, ms: int | None, state: StateDir, output: OutputFormat, note: str | None = None) -> None:
    if output == "json":
        print_json({**_shown(entry), "in_force": ms is not None, "after_ms": ms})
    else:
        when = "stored; in force when the node starts" if ms is None else f"in force after {ms} ms"
        say(f"{done} (number {entry.number}): {clean(_words(entry))}{f' ({clean(note)})' if note else ''}; {when}")
    development = state.root / "dev"
    if ms is None and (development / "layout.json").exists() and StateDir(development).is_locked():
        say(f"note: the node that runs in '{development}' has a state directory of its own: name it with --state-dir", err=True)


def _words(entry: Entry) -> str:
    """What is revoked, for people."""
    found = entry.revocation
    until = "" if found.before is None else f" issued before {write_instant(found.before)}"
    match found.what:
        case "token-id":
            kept = "until it is undone" if entry.ends_at is None else f"until it expires at {write_instant(entry.ends_at)}"
            return f"token id {found.value} of {found.issuer}, {kept}"
        case "client" | "subject":
            return f"tokens of {found.what} {found.value} of {found.issuer}{until or ', later ones too'}"
        case "issuer":
            return f"tokens of {found.issuer}{until or ', later ones too'}"


def _line(entry: Entry, now: float) -> str:
    parts = [f"{entry.number:>6}  {write_instant(entry.made_at)}  {clean(_words(entry))}"]
    if entry.reason is not None:
        parts.append(f"reason: {clean(entry.reason)}")
    if entry.undone_at is not None:
        parts.append(f"undone at {write_instant(entry.undone_at)}")
    elif entry.is_over(now):
        parts.append("over: the token expired")
    return "; ".join(parts)


def _shown(entry: Entry) -> dict[str, Any]:
    """An entry for programs. Times are seconds since the epoch."""
    found = entry.revocation
    return {
        "number": entry.number,
        "issuer": found.issuer,
        "what": found.what,
        "value": found.value or None,
        "before": found.before,
        "ends_at": entry.ends_at,
        "reason": entry.reason,
        "made_at": entry.made_at,
        "undone_at": entry.undone_at,
    }

"""``scopeward dev cert``."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import click

from scopeward.app import SystemClock
from scopeward.cli.options import FILE, examples
from scopeward.cli.output import say, strong
from scopeward.envoy.place import Listen
from scopeward.errors import ScopewardError
from scopeward.private_file import write_private
from scopeward.settings import DEFAULT_LISTEN
from scopeward.tls.development import LIFETIME, DevelopmentCertificate, development_certificate

HOSTS: Final = ("localhost", "127.0.0.1", "::1")
CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"


@click.command("cert")
@examples("scopeward dev cert", "scopeward dev cert gateway.test 192.0.2.10 --output-dir certificates")
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@click.option("--output-dir", metavar="DIR", type=FILE, default=Path(), show_default="the current directory", help="Where the files are written.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def certificate(hosts: tuple[str, ...], output_dir: Path, force: bool) -> None:
    """Make a certificate for development.

    HOST are the names and addresses that it is good for [default: localhost, 127.0.0.1 and ::1]. Writes ca.pem, which callers trust, and cert.pem
    and key.pem for the gateway. The authority's key is not kept, so nobody can sign another certificate with it.
    """
    hosts = hosts or HOSTS
    made = development_certificate(hosts, SystemClock())
    _require_place(output_dir, force=force)
    _write(output_dir, made)
    said = f"wrote {CA}, {CERTIFICATE} and {KEY} in {output_dir}, good for {', '.join(hosts)}, for {LIFETIME.days} days"
    say(f"{strong(said)}\n\n" + "\n".join(next_steps(hosts[0], output_dir)))


def next_steps(host: str, folder: Path) -> list[str]:
    """The commands that use the files."""
    cert, key, ca = (shlex.quote(str(folder / name)) for name in (CERTIFICATE, KEY, CA))
    listen, resolve = _ways(host)
    url = Listen(host, DEFAULT_LISTEN.port).url(tls=True)
    return [
        f"In the policy:\n  public_url: {url}",
        f"\nThen:\n  scopeward dev{listen} --tls-cert {cert} --tls-key {key}\n  curl --cacert {ca}{resolve} {url}/",
    ]


def _ways(host: str) -> tuple[str, str]:
    """What 'dev' and curl need besides, for a host that is not this machine by its very name."""
    port = DEFAULT_LISTEN.port
    try:
        address = ip_address(host)
    except ValueError:
        return "", "" if host == "localhost" else f" --resolve {host.replace('*', 'www')}:{port}:127.0.0.1"
    if str(address) == DEFAULT_LISTEN.host:
        return "", ""
    return f" --listen {Listen(str(address), port)}", ""


def _require_place(folder: Path, *, force: bool) -> None:
    """All three or none. Errors: ``exists``."""
    for name in (CA, CERTIFICATE, KEY):
        if not force and (folder / name).is_symlink() | (folder / name).exists():
            raise ScopewardError("exists", f"'{folder / name}' exists", "Choose another --output-dir, or use --force.")


def _write(folder: Path, made: DevelopmentCertificate) -> None:
    """The key last: a node that follows the files finds no pair before that. Errors: ``file-unwritable``."""
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((CA, made.ca), (CERTIFICATE, made.certificate)):
            path = folder / name
            path.unlink(missing_ok=True)  # not through a link, which --force did not name
            path.write_text(text, encoding="ascii")
        path = folder / KEY
        write_private(path, made.private_key.reveal())
    except OSError as error:
        raise ScopewardError("file-unwritable", f"'{path}': {error.strerror}", "Choose another --output-dir.") from None
    except ScopewardError as error:
        raise ScopewardError("file-unwritable", error.what, "Choose another --output-dir.") from None

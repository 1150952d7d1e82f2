"""A first policy as text, with comments for whoever reads on in it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from typing import Final

from scopeward.cli.answers import Answers
from scopeward.idp.documents import is_loopback
from scopeward.idp.quirks import quirk_of
from scopeward.policy.scalars import NAME_PATTERN
from scopeward.policy.url import parse_url

SCHEMA_FILE: Final = ".scopeward-schema.json"

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*|/[A-Za-z0-9._/-]*")
_WORDS_OF_YAML: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def starter_policy(a: Answers) -> str:
    """The policy: one issuer, one scope, one client, and one API whose GET calls need the scope."""
    client = client_name(a)
    to = f", to: [people, services, {scalar(client)}]" if a.kind == "agent" else ""
    evidence = quirk_of(a.issuer).person
    person = f"{{claim: {scalar(evidence.claim)}, {evidence.test}: {'true' if evidence.test == 'present' else scalar(evidence.value)}}}"
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# Who may call what. 'scopeward check' says whether it is right, 'scopeward dev' runs it on this machine.
version: 1
public_url: {scalar(a.public_url)}  # how callers reach the gateway

issuers:  # who signs tokens
  provider:
    issuer: {scalar(a.issuer)}
    client_claim: {scalar(a.client_claim)}  # the claim that names the client; providers say client_id, azp, appid or cid
    person: {person}  # what proves that a token speaks for a person; any other speaks for its client

scopes:  # every scope with what it means, a verb first
  {scalar(a.scope)}: {{says: {scalar(f"Call the GET operations of {a.name}")}}}

clients:  # who may call; a client that is not listed is refused
  {scalar(client)}:
    kind: {a.kind}  # app: people use it; service and agent act themselves
    id: {scalar(a.client)}
    may: [{scalar(a.scope)}]  # no other scope counts here, whatever its tokens hold

apis:
  {scalar(a.name)}:
    at: {scalar(a.at)}
    audience: {scalar(a.audience)}  # what 'aud' of a token must name
    upstream: {scalar(a.upstream)}
    rules:  # what no rule covers is refused; an agent calls only where 'to' names it
      GET /**: {{needs: {scalar(a.scope)}{to}}}
"""


def client_name(a: Answers) -> str:
    """The client's name in the policy: its id where that is a name, else its kind."""
    return a.client if re.fullmatch(NAME_PATTERN, a.client) else a.kind


def scalar(text: str) -> str:
    """The text as YAML reads it back, in double quotes where it is not plainly text (YAML 1.2 section 7.3.1 takes JSON's strings)."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML
    return text if plain else json.dumps(text, ensure_ascii=False)


def next_steps(a: Answers, policy: str, person: str | None) -> str:
    """What to type now. ``person`` is somebody whom the development provider signs in; only such a provider gives a token by command."""
    dev = "scopeward dev" if policy == "scopeward.yaml" else f"scopeward dev {shlex.quote(policy)}"
    if is_loopback(parse_url(a.issuer).host):
        words = ["--issuer", a.issuer, "--client", a.client, *(["--for", person] if person and a.kind == "app" else [])]
        token = f"TOKEN=$(scopeward token get {shlex.join([*words, '--scope', a.scope, '--resource', a.audience])})"
    else:
        token = f"TOKEN=...   # an access token of {a.issuer} for {a.audience} with the scope {a.scope}"
    return f'Next:\n  {dev}\n  {token}\n  curl -i -H "Authorization: Bearer $TOKEN" {shlex.quote(a.public_url.rstrip("/") + a.at)}'

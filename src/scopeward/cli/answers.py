"""What ``init`` asks: each answer with its type, which reads an option and a line typed at the prompt alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from scopeward.analysis.checks.scope_words import check_scope_words
from scopeward.idp.quirks import quirk_of
from scopeward.policy.model import Policy, Scope
from scopeward.policy.path import TemplateError, parse_at
from scopeward.policy.scalars import NAME_PATTERN
from scopeward.policy.url import UrlError, parse_origin, parse_url


class Read(click.ParamType[str]):
    """Text that a function finds nothing wrong with; the function raises ``ValueError`` with words that fit after "the value"."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        text = str(value).strip()
        try:
            self._check(text)
        except (UrlError, TemplateError, ValueError) as error:
            self.fail(f"the value {error}", param, ctx)
        return text


def _word(text: str) -> None:
    if not text or not text.isprintable():
        raise ValueError("must not be empty or hold control characters")


def _name(text: str) -> None:
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError("must be a name of letters, digits, '.', '_' and '-'")


def _scope(text: str) -> None:
    _name(text)
    policy = Policy(public_url="", issuers=(), scopes=(Scope(text, ""),), clients=(), apis=())
    for finding in check_scope_words(policy):
        if finding.severity == "error":
            raise ValueError(f"has its noun first; a scope begins with a verb. {finding.help}")


URL: Final = Read("url", parse_url)
ORIGIN: Final = Read("url", parse_origin)
PATH: Final = Read("path", parse_at)
WORD: Final = Read("text", _word)
NAME: Final = Read("name", _name)
SCOPE: Final = Read("scope", _scope)
KIND: Final = click.Choice(["app", "service", "agent"])


@dataclass(frozen=True, slots=True)
class Answers:
    """All that a first policy needs."""

    issuer: str
    audience: str
    upstream: str
    client: str
    kind: str
    scope: str
    at: str
    name: str
    public_url: str
    client_claim: str


@dataclass(frozen=True, slots=True)
class Question:
    """One answer: the option's name, its words at the prompt, its type, and what it is where nobody says (empty: it must be said)."""

    name: str
    asks: str
    type: click.ParamType[Any]
    default: Callable[[Mapping[str, str]], str] = lambda _: ""
    help: str = ""
    at_prompt_only: bool = True
    """Whether ``default`` is a proposal to a person; else it holds without asking."""

    @property
    def option(self) -> str:
        """``--public-url``."""
        return "--" + self.name.replace("_", "-")


def _api_name(known: Mapping[str, str]) -> str:
    """The first word of the path that is a name: '/orders/v1' → 'orders'."""
    return next((part for part in known["at"].split("/") if re.fullmatch(NAME_PATTERN, part)), "api")


ISSUER: Final = Question("issuer", "Issuer (URL of the identity provider)", URL, help="The identity provider, exactly as its tokens name it in 'iss'.")

QUESTIONS: Final[tuple[Question, ...]] = (
    Question("upstream", "Upstream (URL that the gateway protects)", URL, help="Where calls go."),
    Question("at", "Path of the API at the gateway", PATH, lambda _: "/api", help="Where the API lives at the gateway, such as /orders."),
    Question("name", "Name of the API", NAME, _api_name, help="The API's name in the policy. [default: from --at]", at_prompt_only=False),
    Question(
        "public_url",
        "URL of the gateway",
        ORIGIN,
        lambda _: "http://127.0.0.1:8080",
        help="How callers reach the gateway. [default: http://127.0.0.1:8080]",
        at_prompt_only=False,
    ),
    Question("audience", "Audience ('aud' of tokens for this API)", WORD, lambda known: known["public_url"] + known["at"], help="What 'aud' must name."),
    Question(
        "client_claim",
        "Claim of the token that names the client",
        WORD,
        lambda known: quirk_of(known["issuer"]).client_claim,
        help="The claim of a token that names its client. [default: as the provider's vendor has it, else client_id]",
        at_prompt_only=False,
    ),
    Question("client", "Client id", WORD, help="The id of a client that may call."),
    Question("kind", "Kind of the client: people use an app, a service or an agent acts itself", KIND, lambda _: "app", help="What the client is."),
    Question("scope", "Scope that its tokens need", SCOPE, help="What GET calls need, a verb first: read.orders."),
)
"""In the order of asking; a default may use what was answered before it."""

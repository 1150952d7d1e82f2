"""The accounts file: YAML text in, ``Accounts`` out, or an error that names the line and the field and quotes no value."""

from __future__ import annotations

import re
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from scopeward.errors import ScopewardError
from scopeward.issuer.accounts import PERSON_SCOPES, WRITTEN_CLAIMS, Accounts, Client, GrantType, Person
from scopeward.issuer.loopback import is_loopback
from scopeward.secret import Secret

LARGEST_FILE = 1 << 20
"""Characters. A file of people and clients for development is a page or two."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_SCOPE = r"^[\x21\x23-\x5B\x5D-\x7E]+$"
_URI_CHARACTERS = re.compile(r"\A[A-Za-z0-9._~:/?@!$&()*+=%\[\]-]+\Z")
"""RFC 3986 without the fragment, and without ';', ',' and the quote, for the URI's origin is written into a CSP header."""

Name = Annotated[str, StringConstraints(pattern=_NAME)]
Scope = Annotated[str, StringConstraints(pattern=_SCOPE)]


def _redirect_uri(uri: str) -> str:
    if not _URI_CHARACTERS.match(uri):
        raise ValueError("a redirect URI is absolute and has no fragment, space, quote, ';' or ','")
    parts = urlsplit(uri)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        if "@" in parts.netloc or not parts.hostname:
            raise ValueError("a redirect URI has a host and no user name")
    elif "." not in parts.scheme:  # RFC 8252 section 7.1: reverse domain names only; shuts out javascript: and data:
        raise ValueError("a redirect URI is https, http on loopback, or has a private-use scheme such as com.example.app")
    return uri


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Person(_Part):
    name: str | None = None
    email: str | None = None
    claims: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _claims_are_its_own(self) -> Self:
        if WRITTEN_CLAIMS & set(self.claims):
            raise ValueError(f"'claims' may not set what the provider writes itself: {', '.join(sorted(WRITTEN_CLAIMS))}")
        return self


class _Client(_Part):
    secret: SecretStr | None = None
    grants: list[GrantType] = Field(min_length=1)
    scopes: list[Scope]
    redirect_uris: list[Annotated[str, AfterValidator(_redirect_uri)]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _grants_are_possible(self) -> Self:
        if self.secret is not None and not self.secret.get_secret_value():
            raise ValueError("'secret' is empty; leave it out for a public client")
        if "client_credentials" in self.grants and self.secret is None:
            raise ValueError("the grant client_credentials needs a 'secret' (RFC 6749 section 4.4)")
        if ("authorization_code" in self.grants) != bool(self.redirect_uris):
            raise ValueError("'redirect_uris' and the grant authorization_code go together")
        if "refresh_token" in self.grants and "authorization_code" not in self.grants:
            raise ValueError("the grant refresh_token needs the grant authorization_code")
        if set(PERSON_SCOPES) & set(self.scopes):
            raise ValueError(f"'scopes' does not list {', '.join(PERSON_SCOPES)}: every client may ask them")
        return self


class _File(_Part):
    people: dict[Name, _Person] = Field(default_factory=dict)
    clients: dict[Name, _Client]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # RFC 9068 section 5: a client whose id is a person's name would get tokens with that person's 'sub'.
        if set(self.people) & set(self.clients):
            raise ValueError("a person and a client have the same name")
        return self


def load_accounts(text: str, name: str) -> Accounts:
    """Read an accounts file. ``name`` is what errors call it.

    Raises ``ScopewardError("accounts-invalid")`` with line and field; no value of the file is quoted.
    """
    if len(text) > LARGEST_FILE:
        raise ScopewardError("accounts-invalid", f"{name}: larger than {LARGEST_FILE} characters")
    tree = _compose(text, name)
    try:
        return _accounts(_File.model_validate(_SafeLoader("").construct_document(tree)))
    except ValidationError as error:
        raise ScopewardError("accounts-invalid", "\n".join(_places(error, tree, name))) from None
    except (yaml.YAMLError, ValueError) as error:  # a scalar that is not what it looks like, such as the date 2020-99-99
        raise ScopewardError("accounts-invalid", f"{name}: a value or key cannot be read{_mark(error)}") from None


def default_accounts() -> Accounts:
    """The accounts of the demo, which come with the package."""
    name = "accounts.yaml"
    return load_accounts(files("scopeward.issuer").joinpath(name).read_text(encoding="utf-8"), name)


class _SafeLoader(yaml.SafeLoader):
    """YAML's plain types only; a key given twice is an error, where PyYAML would silently take the last. No aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str" or key.value in seen:  # not text: 7, no, ~, or the merge key <<
                raise yaml.MarkedYAMLError(problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def _compose(text: str, name: str) -> yaml.Node:
    """The YAML tree with its marks. PyYAML's own message shows a piece of the text, so only its place is used."""
    try:
        node = yaml.compose(text, Loader=_SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        why = "not YAML, a key that is given twice or is not text, or an alias"
        raise ScopewardError("accounts-invalid", f"{name}: {why}{_mark(error)}") from None
    if node is None:
        raise ScopewardError("accounts-invalid", f"{name}: empty")
    return node


def _mark(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def _places(error: ValidationError, tree: yaml.Node, name: str) -> list[str]:
    said = []
    for one in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(step) for step in one["loc"] if step != "[key]") or "the file"
        said.append(f"{name}:{_line(tree, one['loc'])}: {field}: {_in_words(one)}")
    return said


def _in_words(error: ErrorDetails) -> str:
    """What is wrong, without the names of our own classes."""
    return "must be a mapping" if error["type"] in {"model_type", "dict_type"} else error["msg"].removeprefix("Value error, ")


def _line(node: yaml.Node, path: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the path; a missing field has its parent's line."""
    line: int = node.start_mark.line + 1
    for step in path:
        child = _child(node, step)
        if child is None:
            break
        mark, node = child
        line = mark.line + 1
    return line


def _child(node: yaml.Node, step: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark, value) for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step].start_mark, node.value[step]
    return None


def _accounts(file: _File) -> Accounts:
    people = {n: Person(n, p.name or n, p.email, MappingProxyType(p.claims)) for n, p in file.people.items()}
    return Accounts(people, {n: _client(n, c) for n, c in file.clients.items()})


def _client(name: str, client: _Client) -> Client:
    secret = Secret(client.secret.get_secret_value()) if client.secret else None
    return Client(name, secret, tuple(client.grants), tuple(client.scopes), tuple(client.redirect_uris))

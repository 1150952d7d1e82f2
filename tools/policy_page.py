"""The policy reference, made from the schema that checks policies and from the examples that pass it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from scopeward.policy import schema as policy_schema
from scopeward.policy.scalars import or_filled
from tools.markdown import EXAMPLES, NOTE, Pages, anchor, code, table

SECTIONS: tuple[tuple[str, str, str], ...] = (
    ("PolicyDocument", "The file", ""),
    ("EnvironmentEntry", "An environment", "environments.NAME"),
    ("TeamEntry", "A team", "teams.NAME"),
    ("IssuerEntry", "An issuer", "issuers.NAME"),
    ("KeysEntry", "An issuer's keys", "issuers.NAME.keys"),
    ("PersonEntry", "What proves a person", "issuers.NAME.person"),
    ("TrustsEntry", "Trust", "trust"),
    ("TrustEntry", "A trust", "trust.internal, trust.external"),
    ("DefaultsEntry", "Defaults", "defaults"),
    ("SendsEntry", "Headers for upstreams", "defaults.sends"),
    ("LimitsEntry", "Limits", "defaults.limits"),
    ("ScopeEntry", "A scope", "scopes.NAME"),
    ("ClientEntry", "A client", "clients.NAME"),
    ("ApiEntry", "An API", "apis.NAME"),
    ("UpstreamEntry", "An upstream", "apis.NAME.upstream"),
    ("RuleEntry", "A rule", "apis.NAME.rules.OPERATION"),
    ("ClientCertificateEntry", "Client certificates", "apis.NAME.client_certificate"),
    ("PathEntry", "Odd paths", "apis.NAME.path"),
    ("NetworkEntry", "Network", "network"),
    ("AuditEntry", "Audit", "audit"),
    ("IncludedDocument", "A file that is included", ""),
    ("NarrowedDefaultsEntry", "Defaults of a file that is included", "defaults"),
)
"""Each mapping of the policy: the model's name, what it is called here, and where it stands in the file."""

RULES_OF_FORM = """\
A policy is a YAML file, and those that it includes. Unknown keys, keys given twice, anchors, aliases and tags are errors. A value without quotes is text, also `ON` and `012345`.
Names are letters, digits, `.`, `_` and `-`. Durations are a whole number with a unit: `30s`, `15m`, `12h`, `1d`.
Sizes too: `512KiB`, `10MiB`, in powers of 1024.
"""

EDITORS = """\
`scopeward check` says what is wrong and where; `scopeward schema` prints the [JSON schema](schema/policy.json) for editors, and
`scopeward schema --included` [that of a file that is included](schema/policy-included.json).
"""

WORDS_OF_PATTERNS: Mapping[str, str] = {
    r"^[0-9]{1,7}(s|m|h|d)$": "duration",
    r"^[0-9]{1,7}(ms|s|m|h|d)$": "duration",
    or_filled("https?://[^/?#@]+(/[^?#]*)?"): "URL",
    or_filled("https?://[^/?#@]+/?"): "URL without a path",
    or_filled("/([^/]+(/[^/]+)*)?"): "path",
    r"^[0-9]{1,10}(B|KiB|MiB|GiB)$": "size",
    or_filled("(/[^/]+)+"): "file",
    or_filled("file:(/[^/]+)+"): "`file:` and a file",
}


def policy_reference() -> Pages:
    """Every field of the policy, from the models that read it."""
    schema = whole_schema()
    every_field = (EXAMPLES / "every-field.yaml").read_text(encoding="utf-8")
    parts = [
        f"{NOTE}# Policy reference\n",
        RULES_OF_FORM,
        EDITORS,
        f"A policy that uses every key that has to do with one file ([file](examples/every-field.yaml)):\n\n```yaml\n{every_field}```\n",
        "One with environments, included files and teams is in [Environments and teams](how-to/environments-and-teams.md).\n",
    ]
    for name, title, place in SECTIONS:
        parts.append(_section(schema, name, title, place))
    return {"docs/policy-reference.md": "\n".join(parts) + "\n" + MEANING}


def whole_schema() -> Mapping[str, Any]:
    """The schema of the policy, with the mappings of files that it includes among its definitions."""
    schema, included = policy_schema.json_schema(), policy_schema.included_json_schema()
    return {**schema, "$defs": {**schema["$defs"], **included["$defs"], "IncludedDocument": included}}


def definition(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The schema of a mapping by its model's name."""
    found: Mapping[str, Any] = schema if name == "PolicyDocument" else schema["$defs"][name]
    return found


def _section(schema: Mapping[str, Any], name: str, title: str, place: str) -> str:
    entry = definition(schema, name)
    required = set(entry.get("required", ()))
    rows = [
        (
            f"`{field}`",
            type_in_words(about),
            "needed" if field in required else default_in_words(about),
            code(description_of(about, schema)),
            f"`{example_of(name, field)}`",
        )
        for field, about in entry["properties"].items()
    ]
    where = f"`{place}`. " if place else ""
    return f"## {title}\n\n{where}{code(entry['description'])}\n\n{table(('Key', 'Type', 'Default', 'What it says', 'Example'), rows)}"


def description_of(about: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A field's own words; pydantic leaves them out where they are those of the mapping that it refers to."""
    own: str | None = about.get("description")
    return own or str(definition(schema, about["$ref"].rpartition("/")[2])["description"])


def type_in_words(about: Mapping[str, Any]) -> str:
    """A field's JSON schema in a few words."""
    words = _type(about)
    if words is None:
        raise ValueError(f"no words for {dict(about)!r}")
    return words


def _type(about: Mapping[str, Any]) -> str | None:
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        return f"[mapping](#{anchor(next(title for model, title, _ in SECTIONS if model == name))})"
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return " or ".join(f"`{choice}`" for choice in about["enum"])
    if "anyOf" in about:
        return _one_or_many(about["anyOf"])
    if about.get("pattern") in WORDS_OF_PATTERNS:
        return WORDS_OF_PATTERNS[about["pattern"]]
    inner = next(iter(about.get("patternProperties", {}).values()), None) or about.get("additionalProperties")
    if about.get("type") == "object" and isinstance(inner, dict):
        return f"name → {_type(inner)}"
    return {"boolean": "`true` or `false`", "string": "text", "array": "list"}.get(about["type"]) if isinstance(about.get("type"), str) else "text"


def _one_or_many(forms: Iterable[Mapping[str, Any]]) -> str:
    given = list(forms)
    if any(form.get("type") == "array" for form in given):
        return next((f"{_type(form)}, or a list" for form in given if "enum" in form), "name or list of names")
    return " or ".join("`null`" if form.get("type") == "null" else str(_type(form)) for form in given)


def default_in_words(about: Mapping[str, Any]) -> str:
    """``-`` where a field that is left out means nothing by itself."""
    default = about.get("default")
    if default is None or isinstance(default, dict):
        return "-"
    return f"`{_flow(default)}`"


def example_of(model: str, field: str) -> str:
    """``key: value`` from the first example file that uses the field. Errors: ``LookupError`` where none does."""
    for path in sorted(EXAMPLES.rglob("*.yaml"), key=lambda p: (p.name != "every-field.yaml", p.name)):
        for found_model, entry in entries_of(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)):  # noqa: S506  # BaseLoader makes text only
            if found_model == model and field in entry:
                return _shown(field, entry[field])
    raise LookupError(f"no example in {EXAMPLES} uses {model}.{field}")


def _shown(field: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{field}: {{…}}"
    return f"{field}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return json.dumps(text) if re.search(r"[:#{}\[\],&*!|>'\"%@` ]", text) and not text.startswith("http") else text


def entries_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping of an example, with the name of its model. What has no address of the gateway is a file that is included."""
    included = "public_url" not in document
    yield "IncludedDocument" if included else "PolicyDocument", document
    if included:
        yield from [("NarrowedDefaultsEntry", document["defaults"])] if "defaults" in document else []
    else:
        yield from _entries_beside(document)
    yield from (("EnvironmentEntry", environment) for environment in document.get("environments", {}).values())
    yield from (("TeamEntry", team) for team in document.get("teams", {}).values())
    for issuer in document.get("issuers", {}).values():
        yield "IssuerEntry", issuer
        if "person" in issuer:
            yield "PersonEntry", issuer["person"]
        if "keys" in issuer:
            yield "KeysEntry", issuer["keys"]
    yield from (("ScopeEntry", scope) for scope in document.get("scopes", {}).values())
    yield from (("ClientEntry", client) for client in document.get("clients", {}).values())
    for api in document.get("apis", {}).values():
        yield from _entries_of_api(api)


def _entries_beside(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "trust" in document:
        yield "TrustsEntry", document["trust"]
        yield from (("TrustEntry", trust) for trust in document["trust"].values())
    if "defaults" in document:
        yield "DefaultsEntry", document["defaults"]
        if "sends" in document["defaults"]:
            yield "SendsEntry", document["defaults"]["sends"]
        if "limits" in document["defaults"]:
            yield "LimitsEntry", document["defaults"]["limits"]
    if "network" in document:
        yield "NetworkEntry", document["network"]
    if "audit" in document:
        yield "AuditEntry", document["audit"]


def _entries_of_api(api: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "ApiEntry", api
    if isinstance(api["upstream"], dict):
        yield "UpstreamEntry", api["upstream"]
    if isinstance(api.get("client_certificate"), dict):
        yield "ClientCertificateEntry", api["client_certificate"]
    if "path" in api:
        yield "PathEntry", api["path"]
    yield from (("RuleEntry", rule) for rule in api["rules"].values())


MEANING = """
## What it means

- **Environments.** `${env.x}` stands for the value `x` of the environment that is chosen, `${env.name}` for its name. It is taken in `public_url`, an
  issuer's `issuer` and `audience`, a client's `id`, an API's `at`, `audience` and `upstream`, and in places of files; nowhere else, so that who may do
  what is the same everywhere. What comes of it is read as if it had been written there. Every value that is used is given by every environment. Two
  environments must not accept the same issuer and audience.
- **Files.** Only the policy's own file includes others, below its own folder. In a path `*` and `?` stand for characters of one name; each path must
  match a file. The order of files means nothing. A name is good in all files and defined in one.
- **Teams.** A file is its team's by its path, where the policy's `teams` says `files`, else by its own `team`. What is in no team's file belongs to all.
  A team's rules need its own scopes, those of no team, and those of others that allow it. Clients may be named by all. A team's API cannot live below
  another team's. `defaults` of a file hold for the rules of that file and let in some of those whom the policy's let in; a rule's own `to` is its own.
- **Operations.** A rule's key is a method, a space and a path below the API's `at`: `GET /{id}`. `/` is `at` itself, `{name}` is one segment that
  is not empty, `**` at the end is any number of segments, none included. Methods are GET, HEAD, POST, PUT, PATCH and DELETE. HEAD follows GET where
  it has no rule of its own. A trailing slash makes another path, unless the API says `slash: same`.
- **Which rule.** The path picks the most specific template over all methods, segment by segment from the left: a literal before `{name}` before
  `**`. Another method on that template is refused unless it has a rule there.
- **Which API.** The longest `at` that the path begins with, segment by segment.
- **Who calls.** By an `app`: the person whom the token speaks for. By a `service` or an `agent`: that client, for the person if the token speaks
  for one. A client that is not listed is refused; with `unlisted_clients: as_person` a person's token by it is the person's.
- **Person.** A token speaks for a person only where the issuer's `person` proves it. Everything else speaks for its client.
- **Scopes.** A rule needs all of `needs`: each must be in the token (`scope` or `scp`, as words of a text or as an array) and, where the client has
  `may`, in `may`.
- **Audience.** Compared as Envoy does: without `http://` or `https://` in front and without one slash at the end.
- **Odd paths.** A path with `;`, `%25`, an encoded space or control character, or a segment that ends in a dot or a space is refused: servers read it in
  different ways. An API may `allow` what its upstream reads as it stands. Control characters are always refused.
- **Case.** `/ADMIN` is not `/admin`. Where a rule for `/admin` needs more than the rule for `/{name}` beside it, `/ADMIN` is refused too, for an
  upstream that does not tell the two apart; `case: sensitive` says that it does.
- **Public.** A public rule asks for no token, and its upstream gets no identity headers.
- **Stream.** An operation with `stream` may answer for long. Its token is looked at only when it begins, so it is ended at `max_stream` of its issuer's
  trust, and at the `lifetime` where `over: refuse`; where neither is said, after the `lifetime` or an hour, whichever is shorter. An operation without
  `stream` refuses an upgrade. `sse` and `websocket` begin with GET, `grpc` with POST.
- **Pass.** The header `pass` goes with every call that is let go on, on public operations too. It proves that the call came through the gateway, and
  says nothing of the caller. A name that begins with `x-scopeward-` is the gateway's: only `x-scopeward-pass` may be used, and only for the pass.
- **Keys.** The last good keys of an issuer serve for `keys.max_stale` while it publishes none that are usable; after that its tokens are refused.
- **Token ids.** With `jti: optional` a token without an id is taken. It cannot be revoked by its id, only by its client, its subject or its time of
  issue; `scopeward check` notes it.
- **Client certificates.** `required` takes any certificate that the node's authorities signed. A name of `names` is compared whole with the
  certificate's subject alternative names of its type: `*` stands for nothing, and `dns:x` is not `uri:x`. A token is needed as well, where the rule asks.
- **Upstreams.** TLS is always verified, chain and name. Clear text goes to loopback only, or where `plaintext` says why it is safe.
- **Audit.** Where a call cannot be recorded (a full disk), it is refused, or let go on and counted: `audit.on_full`. Where nothing is said, calls are
  refused if a trust says `log: full`.
- **Lifetime.** `over: refuse` refuses a token whose `exp` minus `iat` is more than `lifetime`; `over: report` changes nothing for the call: the audit
  line holds `iat` and `exp`.

Not part of the language yet: several issuers, roles, conditions, dates, rate limits, guardrails, tests, upstream
credentials beyond a client certificate. An unknown key is an error, so a policy never says more than the gateway does.
"""

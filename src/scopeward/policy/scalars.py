"""The types of single values, each with its reading, its complaint and its JSON schema.

A reader's complaint is a ``PydanticCustomError`` whose type is the reference; it never quotes the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import ascii_letters
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from scopeward.policy.diagnostic import quoted, suggestion
from scopeward.policy.environments import KEY
from scopeward.policy.include import OutsideError, PatternError, parse_pattern
from scopeward.policy.model import OddPath
from scopeward.policy.path import TemplateError, parse_at, parse_template
from scopeward.policy.tree import PlainText
from scopeward.policy.url import UrlError, parse_origin, parse_url

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""RFC 9110 section 9.3 and RFC 5789, without CONNECT and TRACE (no API) and OPTIONS (belongs to CORS)."""

MOST_NAMES = 1000
"""Names in one list: scopes that a rule needs or a client may use, callers that a rule lets in."""

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,7})(ms|s|m|h|d)")

_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"([0-9]{1,10})(B|KiB|MiB|GiB)")

CERTIFICATE_FROM = "file:"
"""How a place of a certificate begins; other places come later."""

# RFC 1035 section 2.3.1, and '_' for container networks; RFC 3986 section 3.1
_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")

_TEXT_SCHEMA: JsonSchemaValue = {"type": ["string", "number", "boolean"]}
"""An editor reads an unquoted 012345 or ON as a number or boolean; here both are text."""


Refusal = Literal["policy-type", "policy-value", "policy-missing-key", "name-not-usable", "include-outside"]


def refuse(reference: Refusal, message: str) -> PydanticCustomError:
    """A complaint to raise. The message goes in as context, since pydantic reads braces in its template as names."""
    return PydanticCustomError(reference, "{message}", {"message": message})


def contrast(value: object) -> str:
    """What stands there instead, in plain words: the end of "a list is needed here, …"."""
    match value:
        case None:
            return "and nothing is given"
        case dict():
            return "not a mapping"
        case list():
            return "not a list"
        case _:
            return "not a single value"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refuse("policy-type", f"text is needed here, {contrast(value)}")
    return str(value)


def _name(value: object) -> str:
    """A name that nothing later looks up among others, and so must be usable where it stands."""
    text = _text(value)
    if not re.fullmatch(NAME_PATTERN, text) or len(text) > 128:
        raise refuse("name-not-usable", f"the name {quoted(text)} is not one of letters, digits, '.', '_' and '-', at most 128, a letter or digit first")
    return text


def _include(value: object) -> str:
    text = _text(value)
    try:
        return str(parse_pattern(text))
    except OutsideError as e:
        raise refuse("include-outside", f"the path {e}") from None
    except PatternError as e:
        raise refuse("policy-value", f"the path {e}") from None


def _owner(value: object) -> str:
    """As CODEOWNERS names them: a user, a team, or an address."""
    text = _text(value)
    if not re.fullmatch(OWNER_PATTERN, text):
        raise refuse("policy-value", "an owner is '@user', '@organisation/team' or an e-mail address")
    return text


def _word(value: object) -> str:
    text = _text(value)
    if not text or text != text.strip() or not text.isprintable():
        raise refuse("policy-value", "the text must not be empty, begin or end with a space, or hold control characters")
    return text


def _prose(value: object) -> str:
    text = " ".join(_text(value).split())
    if not text or not text.isprintable():
        raise refuse("policy-value", "the text must not be empty or hold control characters")
    return text


def _reason(question: str) -> BeforeValidator:
    """Text that answers the question. A plain ``true`` is the answer of somebody who takes the key for a switch."""

    def check(value: object) -> str:
        if isinstance(value, PlainText) and value.lower() in {"true", "false", "yes", "no", "on", "off"}:
            raise refuse("policy-type", f"the reason is needed here as text: {question}")
        return _prose(value)

    return BeforeValidator(check)


def _flag(value: object) -> bool:
    if isinstance(value, PlainText) and value in {"true", "false"}:
        return value == "true"
    if isinstance(value, bool):
        return value
    raise refuse("policy-type", "true or false is needed here, without quotes")


def _version(value: object) -> int:
    if not isinstance(value, int) and not (isinstance(value, PlainText) and re.fullmatch(r"[0-9]{1,9}", value)):
        raise refuse("policy-type", "a whole number is needed here, without quotes")
    if int(value) != 1:
        raise refuse("policy-value", "the version of the language is 1")
    return 1


def _duration(value: object, *, least: str, most: str, fractions: bool = False) -> float:
    found = _DURATION.fullmatch(_text(value))
    if not found or (found.group(2) == "ms" and not fractions):
        units = "ms, s, m, h or d" if fractions else "s, m, h or d"
        raise refuse("policy-value", f"a duration is a whole number with its unit ({units}), such as '30s'")
    seconds = _measured(found.group(), _SECONDS)
    if not _measured(least, _SECONDS) <= seconds <= _measured(most, _SECONDS):
        raise refuse("policy-value", f"the duration must be at most {most} and " + ("more than nothing" if fractions else f"at least {least}"))
    return seconds


def _measured(text: str, units: Mapping[str, float]) -> float:
    """A number with its unit, as one of the patterns above took it."""
    number = text.rstrip(ascii_letters)
    return int(number) * units[text[len(number) :]]


def _duration_type(**limits: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: _duration(value, **limits))


def _size(value: object, *, least: str, most: str) -> int:
    """Bytes. Powers of 1024 only: ``MB`` is a million to one reader and 1,048,576 to the next."""
    found = _SIZE.fullmatch(_text(value))
    if not found:
        raise refuse("policy-value", "a size is a whole number with its unit (B, KiB, MiB or GiB), such as '10MiB'")
    size = _measured(found.group(), _BYTES)
    if not _measured(least, _BYTES) <= size <= _measured(most, _BYTES):
        raise refuse("policy-value", f"the size must be at most {most} and at least {least}")
    return int(size)


def _file_path(value: object) -> str:
    """A file of the node. Absolute, since the policy does not know where the program stands; and no other spelling of another path."""
    path = _text(value)
    if not path.startswith("/"):
        raise refuse("policy-value", "the path of a file must be absolute: begin it with '/'")
    if path != path.strip() or not path.isprintable():
        raise refuse("policy-value", "the path must not end with a space or hold control characters")
    if {"", ".", ".."} & set(path[1:].split("/")):
        raise refuse("policy-value", "the path must name a file, without '//', '.' and '..'")
    return path


def _certificate_place(value: object) -> str:
    text = _text(value)
    if not text.startswith(f"{CERTIFICATE_FROM}/"):
        later = "; 'vault:' comes in a later version" if text.startswith("vault:") else ""
        raise refuse("policy-value", f"a certificate is named as 'file:/path.pem', an absolute path{later}")
    return CERTIFICATE_FROM + _file_path(text.removeprefix(CERTIFICATE_FROM))


def _certificate_name(value: object) -> str:
    """``dns:…`` or ``uri:…`` (RFC 5280 section 4.2.1.6), in the one spelling that is compared with the certificate's."""
    kind, colon, name = _text(value).partition(":")
    if not colon or kind not in {"dns", "uri"}:
        raise refuse("policy-value", "a name of a certificate begins with 'dns:' or 'uri:', such as 'dns:client.example'")
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise refuse("policy-value", f"the name after '{kind}:' must not be empty or hold spaces, control characters or letters beyond ASCII")
    if kind == "dns" and name != name.lower():
        raise refuse("policy-value", "a DNS name is written in lower case here")
    if kind == "dns" and not _DNS_NAME.fullmatch(name):
        raise refuse(
            "policy-value", "a DNS name is parts of letters, digits, '-' and '_' with '.' between them; it is compared whole, so '*' stands for nothing"
        )
    if kind == "uri" and "," in name:
        raise refuse("policy-value", "a URI here holds no comma: the engine could not tell it from two URIs")
    if kind == "uri" and not _URI.fullmatch(name):
        raise refuse("policy-value", "a URI begins with its scheme, such as 'uri:spiffe://example/client'")
    return f"{kind}:{name}"


def _url(read: Callable[[str], object]) -> BeforeValidator:
    def check(value: object) -> str:
        text = _text(value)
        try:
            read(text)
        except UrlError as e:
            raise refuse("policy-value", f"the URL {e}") from None
        return text

    return BeforeValidator(check)


def _at(value: object) -> str:
    text = _text(value)
    try:
        return str(parse_at(text))
    except TemplateError as e:
        raise refuse("policy-value", f"the path {e}") from None


def _operation(value: object) -> str:
    text = _text(value)
    method, space, path = text.partition(" ")
    if not space or not path.startswith("/"):
        raise refuse("policy-value", "a rule's key is a method, one space and a path, such as 'GET /{id}'")
    if method == "OPTIONS":
        raise refuse("policy-value", "OPTIONS cannot be a rule: it belongs to CORS")
    if method not in METHODS:
        meant = suggestion(method.upper(), METHODS)
        raise refuse("policy-value", f"the method must be one of {', '.join(METHODS)}" + (f"; perhaps {meant}" if meant else ""))
    try:
        parse_template(path)
    except TemplateError as e:
        raise refuse("policy-value", f"the path {e}") from None
    return text


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise refuse("policy-type", f"a name or a list of names is needed here, {contrast(value)}")
    if len(value) > MOST_NAMES:
        raise refuse("policy-value", f"at most {MOST_NAMES} names are taken in one list")
    return value


def _some(says: str) -> BeforeValidator:
    """One or many; ``says`` is what an empty list would say."""

    def check(value: object) -> object:
        many = _one_or_many(value)
        if not many:
            raise refuse("policy-value", f"at least one name is needed here: an empty list {says}")
        return many

    return BeforeValidator(check)


class Shorthand:
    """JSON schema of a value that may be written short: the ``short`` form, or an item of its own list."""

    def __init__(self, short: JsonSchemaValue | None = None) -> None:
        self.short = short

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(core)
        return {"anyOf": [full["items"] if self.short is None else self.short, full]}


def _given(value: object) -> object:
    """A key with nothing behind it is a slip: ``may:`` must not come to mean "no bound"."""
    if value is None:
        raise refuse("policy-type", "a value is needed here; leave the key out where none is meant")
    return value


class _WithoutNull:
    """JSON schema of a key that may be left out and may not be null."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        forms = [form for form in handler(core)["anyOf"] if form != {"type": "null"}]
        return forms[0] if len(forms) == 1 else {"anyOf": forms}


T = TypeVar("T")
Omittable = Annotated[T | None, BeforeValidator(_given), _WithoutNull()]
"""A key that may be left out (``None``), and takes no null where it stands."""

_DURATION_SCHEMA: JsonSchemaValue = {"type": "string", "pattern": r"^[0-9]{1,7}(s|m|h|d)$", "examples": ["30s", "15m", "12h"]}
_SIZE_SCHEMA: JsonSchemaValue = {"type": "string", "pattern": r"^[0-9]{1,10}(B|KiB|MiB|GiB)$", "examples": ["512KiB", "10MiB"]}
_FILE_PATTERN = "(/[^/]+)+"
_CERTIFICATE_NAME_SCHEMA: JsonSchemaValue = {
    "type": "string",
    "pattern": r"^(dns:[a-z0-9_.-]+|uri:[A-Za-z][A-Za-z0-9+.-]*:\S+)$",
    "examples": ["dns:client.example", "uri:spiffe://example/client"],
}
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
OWNER_PATTERN = r"^(@[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?|[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+)$"
ENVIRONMENT_KEY_PATTERN = f"^{KEY}$"
_FILLED = rf".*\$\{{env\.{KEY}\}}.*"
"""A text that an editor cannot judge, since it holds a value of the environment."""


def or_filled(pattern: str) -> str:
    """The pattern of a text, or of one that holds ``${env.x}``."""
    return f"^({pattern}|{_FILLED})$"


URL_SCHEMA: JsonSchemaValue = {"type": "string", "pattern": or_filled("https?://[^/?#@]+(/[^?#]*)?")}
_OPERATION_SCHEMA: JsonSchemaValue = {"type": "string", "pattern": f"^({'|'.join(METHODS)}) /"}

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema(_TEXT_SCHEMA)]
NameKey = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
Word = Annotated[str, BeforeValidator(_word), WithJsonSchema(_TEXT_SCHEMA)]
Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
ClientId = Annotated[
    str,
    BeforeValidator(_word),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, {"type": "object", "additionalProperties": _TEXT_SCHEMA, "minProperties": 1}]}),
]
"""A mapping from environments to ids is replaced by one of them before this reads it."""
IncludePattern = Annotated[str, BeforeValidator(_include), WithJsonSchema({"type": "string", "examples": ["teams/*.yaml"]})]
Patterns = Annotated[list[IncludePattern], _some("names no file; leave the key out"), Shorthand()]
Owner = Annotated[str, BeforeValidator(_owner), WithJsonSchema({"type": "string", "pattern": OWNER_PATTERN, "examples": ["@acme/orders"]})]
Owners = Annotated[list[Owner], _some("names nobody; leave the key out"), Shorthand()]
Prose = Annotated[str, BeforeValidator(_prose), WithJsonSchema(_TEXT_SCHEMA)]
PublicReason = Annotated[str, _reason("why may everybody call this without a token?"), WithJsonSchema({"type": "string", "minLength": 1})]
PlaintextReason = Annotated[str, _reason("why is clear text safe on this way?"), WithJsonSchema({"type": "string", "minLength": 1})]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
Version = Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": 1, "type": "integer"})]
# Envoy reads a skew of 0 as "not set", which is 60 s there: the least that can be kept is 1 s
Skew = Annotated[int, _duration_type(least="1s", most="10m"), WithJsonSchema(_DURATION_SCHEMA)]
Lifetime = Annotated[int, _duration_type(least="1s", most="366d"), WithJsonSchema(_DURATION_SCHEMA)]
# less would refuse calls at the first look that fails; more is no bound on how long a stolen key serves
Stale = Annotated[int, _duration_type(least="1m", most="30d"), WithJsonSchema(_DURATION_SCHEMA)]
StreamLife = Annotated[int, _duration_type(least="1s", most="7d"), WithJsonSchema(_DURATION_SCHEMA)]
# less refuses any form with a few fields; more is beyond what one node can hold for several callers at once
BodySize = Annotated[int, BeforeValidator(lambda value: _size(value, least="1KiB", most="1GiB")), WithJsonSchema(_SIZE_SCHEMA)]
Timeout = Annotated[
    float,
    _duration_type(least="1ms", most="1h", fractions=True),
    WithJsonSchema({**_DURATION_SCHEMA, "pattern": r"^[0-9]{1,7}(ms|s|m|h|d)$"}),
]
WebUrl = Annotated[str, _url(parse_url), WithJsonSchema(URL_SCHEMA)]
WebOrigin = Annotated[str, _url(parse_origin), WithJsonSchema({"type": "string", "pattern": or_filled("https?://[^/?#@]+/?")})]
At = Annotated[str, BeforeValidator(_at), WithJsonSchema({"type": "string", "pattern": or_filled("/([^/]+(/[^/]+)*)?")})]
OperationKey = Annotated[str, BeforeValidator(_operation), WithJsonSchema(_OPERATION_SCHEMA)]
Names = Annotated[list[Text], BeforeValidator(_one_or_many), Shorthand()]
SomeNames = Annotated[list[Text], _some("lets nobody in"), Shorthand()]
FilePath = Annotated[str, BeforeValidator(_file_path), WithJsonSchema({"type": "string", "pattern": or_filled(_FILE_PATTERN)})]
CertificatePlace = Annotated[
    str, BeforeValidator(_certificate_place), WithJsonSchema({"type": "string", "pattern": or_filled(f"{CERTIFICATE_FROM}{_FILE_PATTERN}")})
]
CertificateName = Annotated[str, BeforeValidator(_certificate_name), WithJsonSchema(_CERTIFICATE_NAME_SCHEMA)]
CertificateNames = Annotated[list[CertificateName], _some("lets nobody in"), Shorthand()]
OddPaths = Annotated[list[OddPath], _some("allows nothing more; leave the key out"), Shorthand()]

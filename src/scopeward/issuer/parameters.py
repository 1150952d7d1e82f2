"""Protocol parameters as they come in: given once, of the characters that the protocol allows, else ``invalid_request``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

LARGEST_FORM = 65_536
"""Bytes of a request body."""
_MOST_FIELDS = 64
_CHARACTERS = re.compile(r"\A[\x20\x21\x23-\x5B\x5D-\x7E]*\Z")
"""RFC 6749 appendix A: VSCHAR without quote and backslash, which also may not be in an error description that echoes the value."""
_CHECKED = ("client_id", "code_challenge", "code_challenge_method", "grant_type", "redirect_uri", "resource", "response_type", "scope")


class ParameterError(Exception):
    """The parameters cannot be used. Its text is fit for ``error_description`` and quotes no value."""


def read_parameters(encoded: str) -> Mapping[str, str]:
    """Parse ``application/x-www-form-urlencoded``. A value that is empty counts as not given (RFC 6749 section 3.1).

    Raises ``ParameterError`` where a name is given twice: who reads the first value and who reads the last would differ.
    """
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise ParameterError("The parameters are not URL-encoded UTF-8, or too many.") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ParameterError("A parameter is given more than once.")
    found = {name: value for name, value in pairs if value}
    for name in _CHECKED:
        if not _CHARACTERS.match(found.get(name, "")):
            raise ParameterError(f"The parameter {name} has characters that it may not have.")
    return MappingProxyType(found)


def is_resource(value: str) -> bool:
    """Whether the value is an absolute URI without fragment (RFC 8707 section 2)."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and "#" not in value and " " not in value

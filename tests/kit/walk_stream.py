"""A request on its way through a snapshot, and how a value of it is compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scopeward.compile.snapshot import Snapshot
from scopeward.identity import PresentedToken

JWT = "envoy.filters.http.jwt_authn"
RBAC = "envoy.filters.http.rbac"
Fields = list[tuple[str, str]]


class Answered(Exception):  # noqa: N818  # Envoy's own word for it is a local reply
    def __init__(self, status: int, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.details = details


@dataclass
class Stream:
    """One request on its way."""

    snapshot: Snapshot
    headers: Fields
    token: PresentedToken | Literal["none", "malformed"]
    now: float
    certificate: Sequence[str] | None = None
    route: Any = None
    host: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """All values of a header, joined as Envoy joins them."""
        values = [v for k, v in self.headers if k == name.lower()]
        return ",".join(values) if values else None

    def names(self, kind: str) -> str | None:
        """The certificate's names of a kind, joined as Envoy joins them."""
        values = [name.removeprefix(kind) for name in self.certificate or () if name.startswith(kind)]
        return ",".join(values) if values else None

    def remove(self, fits: Callable[[str], bool]) -> None:
        self.headers = [(k, v) for k, v in self.headers if k.startswith(":") or not fits(k)]


def text_matches(test: Any, value: str) -> bool:
    test = dict(test)
    if test.pop("ignore_case", False):
        value, test = value.lower(), {k: v.lower() for k, v in test.items()}
    ((kind, wanted),) = test.items()
    match kind:
        case "exact":
            return value == wanted
        case "prefix":
            return value.startswith(wanted)
        case "suffix":
            return value.endswith(wanted)
        case "contains":
            return wanted in value
        case "safe_regex":
            return re.fullmatch(wanted["regex"], value) is not None
        case _:
            raise NotImplementedError(kind)


ABSENT = object()
"""What is not there; a null that is there counts as present."""


def value_at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value

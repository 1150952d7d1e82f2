"""The status of a node, version 1. All times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field

from scopeward.audit.guard import DiskVerdict
from scopeward.audit.tally import Counts

VERSION: Final = 1

Time = Annotated[float, Field(ge=0, le=253402300799)]
"""Seconds since the epoch, up to the year 9999. The bounds hold for what is read from a file; whoever shows a time may rely on them."""


@dataclass(frozen=True, slots=True)
class WardenStatus:
    """The process that supervises Envoy. ``version`` is Scopeward's."""

    pid: int
    version: str
    started_at: Time


@dataclass(frozen=True, slots=True)
class EnvoyStatus:
    """The process that answers calls. ``incarnation`` names this start of it; so are its folder and its audit file."""

    pid: int
    version: str
    incarnation: str
    started_at: Time


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The policy in force. ``version`` is ``None`` before the first one is.

    ``path`` is the file that is followed and ``sha256`` (hex) that of what is in force, so that a reader can tell whether the file, or one that it
    includes, differs. ``environment`` is the one that was chosen. ``why_not`` says why Envoy has not confirmed what should be in force.
    """

    path: str
    version: str | None = None
    sha256: str | None = None
    confirmed_at: Time | None = None
    confirmed: bool = False
    why_not: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerStatus:
    """An issuer and its keys. ``good_until`` is when the keys are too old to be believed.

    ``failing_since`` and ``failure`` (reference and words) tell of looks that brought no keys; ``clock_difference`` is the issuer's clock minus ours in
    seconds.
    """

    name: str
    issuer: str
    key_ids: tuple[str, ...] = ()
    fetched_at: Time | None = None
    good_until: Time | None = None
    source: Literal["provider", "disk"] | None = None
    failing_since: Time | None = None
    failure: str | None = None
    clock_difference: Annotated[float, Field(allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """Where an API's calls go. How it answers is in the counts, by API."""

    api: str
    url: str


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """A certificate that the node shows. ``what`` says to whom, in a few words that do not change: "callers", "upstream orders"."""

    what: str
    path: str
    expires_at: Time


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """What is revoked. ``sequence`` counts the changes that are stored, ``in_force`` those that Envoy has."""

    count: int = 0
    sequence: int = 0
    in_force: int = 0


@dataclass(frozen=True, slots=True)
class ObservedStatus:
    """An API whose calls are judged and not refused, and until when. None is, in this version."""

    api: str
    until: Time


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """The disk with the audit files. ``refusing`` says that calls are refused for it.

    ``write_failures`` counts the writes of audit lines that failed since this Envoy started; each may have held several lines.
    """

    verdict: DiskVerdict = "fine"
    why: str = ""
    free_bytes: int | None = None
    refusing: bool = False
    write_failures: int = 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that somebody should look at."""

    since: Time
    reference: str
    words: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole of it. ``envoy`` is ``None`` where none runs; ``calls`` are those since the warden's start."""

    taken_at: Time
    node: str
    warden: WardenStatus
    envoy: EnvoyStatus | None
    policy: PolicyStatus
    calls: Counts = field(default_factory=Counts)
    last_minute: Counts = field(default_factory=Counts)
    issuers: tuple[IssuerStatus, ...] = ()
    upstreams: tuple[UpstreamStatus, ...] = ()
    certificates: tuple[CertificateStatus, ...] = ()
    revocations: RevocationStatus = RevocationStatus()
    observed: tuple[ObservedStatus, ...] = ()
    disk: DiskStatus = DiskStatus()
    alarms: tuple[Alarm, ...] = ()
    v: Literal[1] = VERSION

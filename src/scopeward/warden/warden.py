"""One node's warden: what it should be, and how each part of that is looked at, compared and put in force.

A part is what can change by itself: the policy's text, the issuers' keys, revocations, passes, certificates, the disk. Each ``look_at_…`` looks once
and acts on a difference; ``tasks`` calls them again and again. Where putting something in force fails, what was in force stays, and the
next look tries again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from scopeward.analysis.gateway import Facts, IssuerFacts, Revocation
from scopeward.audit.files import FOLDER
from scopeward.audit.guard import DiskGuard
from scopeward.audit.tail import Tail
from scopeward.audit.tally import Tally
from scopeward.clock import Clock
from scopeward.compile import Edge, Snapshot
from scopeward.compile.envoy.filters import gateway_pass, revoke
from scopeward.compile.prove.tables import prove_revocation_table
from scopeward.compile.snapshot import File, Resource, extension_file
from scopeward.envoy.backoff import Backoff
from scopeward.envoy.node import Node
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.keeper import KeyKeeper
from scopeward.passes import PassIssuer
from scopeward.policy.collecting import without_collecting
from scopeward.policy.source import Loaded
from scopeward.policy_files import Bundle, without_folder
from scopeward.revocation import Keeper, Tables
from scopeward.tls.certificates import CertificateFiles, Certificates
from scopeward.tls.certificates import Loaded as LoadedCertificates
from scopeward.tls.certificates import load as load_certificates
from scopeward.warden.policy import Prepared, certificate_files, checked, compile_policy, require_fit, showing

log = logging.getLogger(__name__)

NOTHING_REVOKED: Final = Tables((), (), 0)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a warden is built of. ``certificates`` names the files that the settings name."""

    state: StateDir
    node: Node
    keys: KeyKeeper
    revocations: Keeper
    passes: PassIssuer
    certificates: CertificateFiles
    clock: Clock


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that is in force, or is being put in force. ``sha256`` is that of its files and environment."""

    loaded: Loaded
    path: Path
    sha256: str


@dataclass(slots=True)
class _Settled:
    """The large table of revocations, written out once for all snapshots that hold it."""

    revocations: tuple[Revocation, ...] = ()
    resource: Resource = field(default_factory=lambda: revoke.settled_table(()))
    file: File | None = None


class Warden:
    """Keeps one node at what it should be. Nothing here sleeps; time is the clock's."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.node = parts.node
        self.keys = parts.keys
        self.in_force: InForce | None = None
        self.guard = DiskGuard()
        self.tally = Tally()
        self.tail = Tail(parts.state.root / FOLDER)
        self.backoff = Backoff()
        self.alarms: dict[str, tuple[float, ScopewardError]] = {}
        self.tables: Tables = NOTHING_REVOKED
        self._issuers: Mapping[str, IssuerFacts] = {}
        self._settled = _Settled()
        self._certificates: Certificates | None = None
        self._tried: Bundle | None = None
        self._only_env: str | None = None
        self._exposed: set[Path] = set()
        self._putting = asyncio.Lock()

    # ── the policy ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, files: Bundle, path: Path, only_env: str | None = None) -> Prepared:
        """The first policy: takes over the Envoy that runs, or starts one. With ``only_env`` this and all later ones must be for that environment.

        Errors: of everything that a policy and a node need; ``env-other``.
        """
        self._only_env = only_env
        await self._read_revocations()
        prepared = await self._apply(files, path, adopt=True)
        self._note_revocations()
        self.node.note(environment=files.env)
        self.backoff.started(time.monotonic())
        return prepared

    async def apply(self, files: Bundle, path: Path) -> Prepared:
        """Another policy. Where anything is refused, what is in force stays, and in-force.json says why, for ``scopeward apply`` to read."""
        try:
            prepared = await self._apply(files, path, adopt=False)
        except ScopewardError as error:
            self.node.note(refused={"sha256": files.sha256, "reference": error.reference.id, "what": error.what, "remedy": error.remedy})
            raise
        self.node.note(refused=None, environment=files.env)
        return prepared

    def is_new(self, files: Bundle) -> bool:
        """Whether these files are others than those that were tried last."""
        return files != self._tried

    async def _apply(self, files: Bundle, path: Path, *, adopt: bool) -> Prepared:
        self._tried = files
        if self._only_env not in {None, files.env}:
            raise ScopewardError("env-other", f"the policy is for {_quoted(files.env)}, and this node is one of {_quoted(self._only_env)}")
        loaded, warnings = await asyncio.to_thread(checked, without_folder(files))
        require_fit(loaded.policy, verifies_clients=self.parts.certificates.client_ca is not None)
        certificates = load_certificates(certificate_files(self.parts.certificates, loaded.policy), self.parts.clock.now())
        for key in set(certificates.exposed) - self._exposed:
            log.warning("the key in '%s' can be read by every user of this machine", key)
        self._exposed = set(certificates.exposed)
        issuers = await self.keys.look(loaded.policy)
        candidate = InForce(loaded, path, files.sha256)
        async with self._putting:
            with self._showing(certificates):
                if adopt:
                    await self.node.adopt()
                prepared = await self._put(candidate, issuers)
            self.in_force, self._issuers = candidate, issuers
            if self._certificates is None:
                self._certificates = Certificates(certificates)
            else:
                self._certificates.use(certificates)
            return replace(prepared, warnings=warnings)

    # ── putting it in force ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _put(self, wanted: InForce, issuers: Mapping[str, IssuerFacts]) -> Prepared:
        """All of it, by the least means."""
        compiled: list[Prepared] = []

        def build(edge: Edge) -> Snapshot:
            compiled.append(self._compile(wanted, issuers, edge))
            return compiled[-1].snapshot

        await self._settle_first()
        await self.node.put(build)
        return compiled[-1]

    def _compile(self, wanted: InForce, issuers: Mapping[str, IssuerFacts], edge: Edge) -> Prepared:
        """The settled revocations are put in after compiling: they are proven and written out once, however often all the rest changes."""
        passes = self._passes(wanted)
        facts = Facts(issuers, recent=self.tables.recent, passes=passes, pass_keys=self.parts.passes.jwks())
        prepared = compile_policy(wanted.loaded, facts, edge)
        return replace(prepared, snapshot=self._with_settled(prepared.snapshot))

    def _with_settled(self, snapshot: Snapshot) -> Snapshot:
        settled = self._settled
        if settled.file is None:
            settled.file = extension_file(revoke.SETTLED_FILTER, settled.resource)
        return snapshot.with_written(revoke.SETTLED_FILTER, settled.resource, settled.file)

    async def put_again(self) -> None:
        """What is in force is put in force again: by another Envoy, where the one before ended."""
        async with self._putting:
            if self.in_force is not None:
                await self._put(self.in_force, self._issuers)

    # ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look_at_keys(self) -> bool:
        """Whether they changed, and are in force. A provider that does not answer changes nothing but the time that is left."""
        in_force = self.in_force
        if in_force is None:
            return False
        issuers = await self.keys.look(in_force.loaded.policy)
        async with self._putting:
            if issuers == self._issuers or self.in_force is not in_force:
                return False
            await self._put(in_force, issuers)
            renewed = any(name not in self._issuers or facts.jwks != self._issuers[name].jwks for name, facts in issuers.items())
            self._issuers = issuers
            return renewed

    # ── revocations ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look_at_revocations(self) -> bool:
        """Whether they changed, and are in force. Goes past whatever else is being put in force."""
        before = self.tables
        await self._read_revocations()
        if self.tables is before:
            return False
        if self.node.snapshot is None:  # an Envoy is being started, maybe on what was compiled before this look
            self.tables = before
            return False
        try:
            await self._push_revocations(before)
        except ScopewardError:
            self.tables = before  # the next look tries again
            raise
        self._note_revocations()
        return True

    def _note_revocations(self) -> None:
        """Say how far revocations are in force: ``scopeward revoke`` waits for it, and a start without the store is refused where there were any."""
        self.node.note(revocations=self.tables.sequence, revoked=len(self.tables.recent) + len(self.tables.settled))

    async def _read_revocations(self) -> None:
        with without_collecting():
            found = await asyncio.to_thread(self.parts.revocations.look) or self.parts.revocations.tables
            if found is None or found is self.tables:
                return
            if found.settled is not self._settled.revocations:
                self._settled = await asyncio.to_thread(_write_settled, found.settled)
            self.tables = found

    async def _settle_first(self) -> None:
        """What settles is in force there before it leaves the recent table: a snapshot is written file by file, and a token must not be in neither.

        So it is where the next warden takes an Envoy over, since at a start everything settles.
        """
        snapshot = self.node.snapshot
        if snapshot is not None and self.node.runs and snapshot.extensions[revoke.SETTLED_FILTER] is not self._settled.resource:
            await self.node.push([revoke.SETTLED_FILTER], self._with_settled(snapshot))

    async def _push_revocations(self, before: Tables) -> None:
        """Settled first: what moves there must not be in neither table for a moment."""
        snapshot = self.node.snapshot
        if snapshot is None:
            return
        if self.tables.settled is not before.settled:
            snapshot = self._with_settled(snapshot)
            await self.node.push([revoke.SETTLED_FILTER], snapshot)
        if self.tables.recent is not before.recent:
            recent = revoke.recent_table(self.tables.recent)
            prove_revocation_table(revoke.RECENT_FILTER, recent)
            await self.node.push([revoke.RECENT_FILTER], (self.node.snapshot or snapshot).with_extensions({revoke.RECENT_FILTER: recent}))

    # ── passes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look_at_passes(self) -> bool:
        """Whether they were renewed, and are in force. Where the keys that verify them changed too, those come first.

        What is due is what Envoy does not have, so that a renewal that failed is tried again; and never beside a policy that is being put in
        force, whose APIs may be others.
        """
        async with self._putting:
            in_force = self.in_force
            if in_force is None or self.node.snapshot is None:
                return False
            keys = self.parts.passes.jwks()
            table = gateway_pass.table_of(self._passes(in_force))
            if self.parts.passes.jwks() != keys:
                await self._put(in_force, self._issuers)
            elif self.node.snapshot.extensions[gateway_pass.FILTER] != table:
                await self.node.push([gateway_pass.FILTER], self.node.snapshot.with_extensions({gateway_pass.FILTER: table}))
            else:
                return False
            return True

    def _passes(self, wanted: InForce) -> Mapping[str, str]:
        """The passes by API name; the same ones until a renewal is due."""
        policy = wanted.loaded.policy
        return self.parts.passes.passes(policy.public_url, {api.name: policy.public_url + api.at for api in policy.apis})

    # ── certificates ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def look_at_certificates(self) -> bool:
        """Whether they changed, and are in force. Errors: ``tls-certificate`` where what the files hold now is refused."""
        if self._certificates is None or self.in_force is None:
            return False
        found = self._certificates.look(self.parts.clock.now())
        if isinstance(found, ScopewardError):
            raise found
        if found is None:
            return False
        async with self._putting:
            with self._showing(found):
                await self._put(self.in_force, self._issuers)
            self._certificates.use(found)
        return True

    @contextmanager
    def _showing(self, certificates: LoadedCertificates) -> Iterator[None]:
        """The node shows them from here on, unless the block fails."""
        place = self.node.place
        self.node.place = showing(place, certificates)
        try:
            yield
        except BaseException:
            self.node.place = place
            raise

    @property
    def certificates(self) -> Certificates | None:
        """Those in force."""
        return self._certificates

    # ── alarms ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def alarm(self, concern: str, error: ScopewardError) -> bool:
        """Note that something does not work; whether that is news."""
        since, known = self.alarms.get(concern, (self.parts.clock.now(), None))
        self.alarms[concern] = since, error
        return known is None or str(known) != str(error)

    def works_again(self, concern: str) -> bool:
        """Note that it works; whether that is news."""
        return self.alarms.pop(concern, None) is not None


def _quoted(env: str | None) -> str:
    return "no environment" if env is None else f"the environment {env!a}"


def _write_settled(revocations: tuple[Revocation, ...]) -> _Settled:
    resource = revoke.settled_table(revocations)
    prove_revocation_table(revoke.SETTLED_FILTER, resource)
    return _Settled(revocations, resource, extension_file(revoke.SETTLED_FILTER, resource))

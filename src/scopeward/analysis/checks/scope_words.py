"""Scopes read as what they let one do: a verb, then its object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from scopeward.analysis.checks.finding import Finding, error, warning
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy

VERBS: Final = frozenset(
    """
    accept acknowledge activate add adjust administer administrate aggregate allocate amend analyse analyze annotate answer append apply approve
    assess assign attach authorise authorize ban browse build buy calculate call cancel capture certify change check clear clone close collect
    commit compare complete compute configure confirm connect consume convert copy correct create decline decrypt delegate delete deliver deny
    deploy deprecate detach disable discover dismiss dispatch dispute distribute download edit emit enable encrypt end enroll enter erase escalate
    estimate evaluate execute export extend fetch find fix follow forward freeze fulfil fulfill generate get hide hold identify impersonate import
    ingest initiate inspect install introspect invalidate invite invoke issue join leave link list login maintain make manage merge migrate
    moderate modify monitor move mute notify obtain open operate own pay perform print promote propose provision publish pull purge push put query
    react read reassign rebuild receive recommend reconcile recover redeem refresh reject reload remove rename render renew reopen replace replay
    reply reschedule reset resolve respond restart restore resume retrieve retry return reverse revoke rotate run save scan search see select sell
    send set settle ship sign simulate snooze start stop submit subscribe suggest suspend synchronise synchronize take terminate translate unblock
    undo unlink unlock unsubscribe update upload use validate verify view void withdraw write
    """.split()  # noqa: SIM905 - a list of words is read as words
)
"""Verbs that scopes of HTTP APIs commonly begin with. A verb that is missing here costs a warning, never an error."""

NOUNS_TOO: Final = frozenset(
    """
    access archive audit backup bid block book charge chat comment credit debit draft drop email exchange extract file filter flag forecast grant
    handle index invoice label launch load lock log look map mark match measure order override pause pin place plan play post preview price
    process produce purchase quote rate record refund register release report request reserve review route sample schedule score share show sort
    split store stream sync tag test track train transfer trigger upgrade vote watch
    """.split()  # noqa: SIM905 - as above
)
"""Words that are a verb or an object: in front of a plain verb they are the object, as in 'invoice.read'; else they count as verbs."""


def check_scope_words(policy: Policy) -> Iterator[Finding]:
    """``scope-noun-first``: an error where the last word is the verb, a warning where no verb is found in front."""
    for scope in policy.scopes:
        words = re.split(r"[._-]", scope.name)
        first, last = words[0].lower(), words[-1].lower()
        path = ("scopes", scope.name)
        if first in VERBS or (first in NOUNS_TOO and last not in VERBS):
            continue
        if len(words) > 1 and last in VERBS:
            better = ".".join([words[-1], *words[:-1]])
            yield error("scope-noun-first", path, f"the scope {quoted(scope.name)} has its noun first", f"Rename it to {quoted(better)}.")
        else:
            message = f"the scope {quoted(scope.name)} does not begin with a verb known here"
            yield warning("scope-noun-first", path, message, "If its first word is a verb, leave it so.")

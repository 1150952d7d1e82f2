"""The command line. Each command is a file here with a click command named ``command``, and an entry in ``COMMANDS``."""

from __future__ import annotations

from typing import Final

from scopeward.cli.frame import Frame, Place

COMMANDS: Final[tuple[Place, ...]] = (
    Place("demo", "Show the whole of it on this machine: provider, gateway, calls and denials."),
    Place("init", "Write a first policy for an API and an identity provider."),
    Place("check", "Say what is wrong with a policy, and where."),
    Place("show", "Show the effective policy of an API, and where each value was said."),
    Place("codeowners", "Print who owns the policy's files, for reviews."),
    Place("schema", "Print the JSON schema of the policy, for editors."),
    Place("dev", "Run the gateway on this machine and follow the policy file."),
    Place("run", "Run the gateway on the policy that was applied."),
    Place("apply", "Put a policy in force."),
    Place("status", "Show what is in force, and what is wrong."),
    Place("logs", "Show decisions, live."),
    Place("revoke", "Revoke tokens, and list or undo what was revoked."),
    Place("token", "Get access tokens."),
    Place("idp", "Run the development identity provider."),
    Place("config", "Show where things are, and who said so."),
    Place("completion", "Print a script that completes commands in a shell."),
)

cli: Final = Frame(
    "scopeward",
    COMMANDS,
    help="""\
Scopeward: an identity-aware OAuth 2.0 gateway. Write down once who may call what; every call is checked against that.

\b
Examples:
  scopeward init                    write a first policy
  scopeward check                   is it right?
  scopeward dev                     run it on this machine
""",
    epilog="""\
\b
Exit status:
  0    done, or the answer is yes
  1    the answer is no: the policy has errors
  2    the command's words do not fit
  3    an error; its reference is in the message
  130  interrupted
  141  whoever read the output stopped reading
""",
)

__all__ = ["COMMANDS", "cli"]

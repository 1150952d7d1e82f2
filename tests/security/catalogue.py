"""The catalogue of attacks that this field has seen, as a table: what each row is about, and where it is tested.

A row that is tested has a test function named after it (``test_T17_…``). A row for later names the room with which it comes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``room`` is empty where the row is tested."""

    title: str
    room: str = ""

    @property
    def tested(self) -> bool:
        return not self.room


CATALOGUE: dict[int, Row] = {
    1: Row("dot segments pass a rule on the raw path"),
    2: Row("encoded restricted characters skip another route"),
    3: Row("normalization differs from the upstream's view"),
    4: Row("a fragment in the request target changes the match"),
    5: Row("a path with two slashes is read as an authority"),
    6: Row("an HTTP/2 path without a leading slash avoids a rule"),
    7: Row("an absolute or opaque request target is judged as another path"),
    8: Row("a rewrite after the decision yields another path"),
    9: Row("a public pattern matches the query"),
    10: Row("a public pattern is widened by its suffix"),
    11: Row("odd characters in a path miss a template"),
    12: Row("two rules match one call"),
    13: Row("identity headers in every spelling, '_' for '-' too"),
    14: Row("identity names as trailers"),
    15: Row("a forwarded header chooses the rule"),
    16: Row("X-Forwarded-Proto is believed"),
    17: Row("a Connection header removes what the gateway set"),
    18: Row("identity headers stay where no token was asked for"),
    19: Row("identity headers stay on pass-through paths"),
    20: Row("of a repeated header one value is judged and all go on"),
    21: Row("odd bytes in a header are lost on the way to the decision"),
    22: Row("the caller says what only the proxy may say"),
    23: Row("private addresses are trusted"),
    24: Row("bytes from outside break the log"),
    25: Row("the caller's token or our cookie reaches an upstream"),
    26: Row("a repeated security parameter counts once", "sessions"),
    27: Row("a public key is taken for a shared secret"),
    28: Row("the algorithm of header, key and signature differ"),
    29: Row("the token brings its own key"),
    30: Row("a critical header is not understood"),
    31: Row("a token of enormous size or depth, or compressed", "authz"),
    32: Row("'iss' is compared loosely", "idp"),
    33: Row("a claim is missing, or the token is an ID token"),
    34: Row("a token for one resource is good at another", "compile: several resources"),
    35: Row("unknown key ids flood the provider or lock good keys out"),
    36: Row("the cache of introspection forgets what it was asked", "authz"),
    37: Row("one caller's upstream token serves another", "broker"),
    38: Row("comparison in variable time; weak cookies", "sessions"),
    39: Row("the input of a MAC is ambiguous", "sessions"),
    40: Row("a user's token is good at an internal interface", "console"),
    41: Row("a development token is good in production", "analysis: environments"),
    42: Row("two Authorization headers, or one beside access_token"),
    43: Row("a route that depends on a claim is gone when it is looked for"),
    44: Row("any bearer token skips the login", "sessions"),
    45: Row("a default key skips the check", "broker"),
    46: Row("what is not MCP skips the check of an MCP route", "compile: MCP"),
    47: Row("a health check's User-Agent is a pass"),
    48: Row("an old session is good after signing out", "sessions"),
    49: Row("session fixation", "sessions"),
    50: Row("cookies are not deleted", "sessions"),
    51: Row("an e-mail address with several '@'", "sessions"),
    52: Row("open redirects", "sessions"),
    53: Row("parameters that nobody signed", "sessions"),
    54: Row("a page shows tokens", "sessions"),
    55: Row("groups are frozen at the first login", "sessions"),
    56: Row("what was revoked goes on until a cache forgets", "revocation"),
    57: Row("login by a stranger's link; consent without a browser", "sessions"),
    58: Row("issuers are mixed up", "sessions"),
    59: Row("a crafted cookie or state ends the process", "sessions"),
    60: Row("a session of one application is good at another", "sessions"),
    61: Row("logout tokens are not checked", "sessions"),
    62: Row("an upgrade opens a raw tunnel"),
    63: Row("an upgrade that is answered otherwise smuggles"),
    64: Row("bytes before a tunnel stands"),
    65: Row("a failed handshake with another filter in the chain", "compile: streams"),
    66: Row("a stream outlives its token", "revocation"),
    67: Row("floods of cookies and resets"),
    68: Row("a certificate's names are confused"),
    69: Row("a scheme in mixed case"),
    70: Row("request smuggling"),
    71: Row("the admin interface is reached from outside"),
    72: Row("the control plane answers anybody", "envoy"),
    73: Row("the policy runs code in the control plane", "policy: conditions"),
    74: Row("one team refers to another's upstream", "policy: teams"),
    75: Row("merging drops a check"),
    76: Row("what is down lets everything through"),
    77: Row("a filter of addresses misses some forms", "idp"),
    78: Row("a redirect or a second look-up leads inside", "idp"),
    79: Row("an IPv6 literal skips the filter", "idp"),
    80: Row("an attacker hosts the client's document", "issuer: client documents"),
    81: Row("an authorization URL reaches a shell", "cli: login"),
    82: Row("an old event stream is not guarded", "compile: MCP"),
    83: Row("tools change under way", "compile: MCP"),
    84: Row("header and body name different methods", "compile: MCP"),
    85: Row("batches and repeated keys in JSON-RPC", "compile: MCP"),
    86: Row("an unknown server is a wider one", "compile: MCP"),
    87: Row("the caller's token is passed to a tool", "broker"),
    88: Row("an actor chain is forged", "issuer: token exchange"),
}

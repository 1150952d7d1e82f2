"""The steps, each with what must come of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenWish:
    """Which token a step sends. ``lifetime`` is in seconds; a step that names one waits until the token has expired."""

    client: str
    person: str | None = None
    scopes: tuple[str, ...] = ()
    resource: str | None = None
    lifetime: int | None = None

    def command(self, issuer: str) -> str:
        """The shell command that gets such a token."""
        words = ["scopeward token get", f"--issuer {issuer}", f"--client {self.client}"]
        words += [f"--for {self.person}"] if self.person else []
        words += [f"--scope {scope}" for scope in self.scopes]
        words += [f"--resource {self.resource}"] if self.resource else []
        words += [f"--lifetime {self.lifetime}"] if self.lifetime else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Step:
    """A call and its expected end. ``edit`` is done to the policy file before: (old text, new text).

    A step that wishes for the same token as one before uses that very token; ``revoke`` revokes it first, by its id. A ``direct`` step goes
    around the gateway, straight to the API; ``path`` is the API's own then.
    """

    title: str
    path: str
    status: int
    token: TokenWish | None = None
    reference: str | None = None
    challenge: str = ""
    why: str = ""
    method: str = "GET"
    edit: tuple[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    direct: bool = False
    revoke: bool = False

    @property
    def verdict(self) -> str | None:
        """What its audit line says first, or ``None`` where the gateway never saw the call."""
        if self.direct:
            return None
        return f"{self.status} {self.reference}" if self.reference else "allowed"


SERVICE = TokenWish("order-sync", scopes=("read.orders",))
AGENT = TokenWish("claims-copilot", person="alice", scopes=("read.orders",))

STORY: tuple[Step, ...] = (
    Step("A service with the right scope", "/orders/v1/42", 200, SERVICE, why="the rule 'GET /{order_id}' needs read.orders and lets services in"),
    Step("No token", "/orders/v1/42", 401, None, "token-missing", "Bearer resource_metadata="),
    Step("An expired token", "/orders/v1/42", 401, TokenWish("order-sync", scopes=("read.orders",), lifetime=1), "token-expired", 'error="invalid_token"'),
    Step(
        "A token for another API",
        "/orders/v1/42",
        401,
        TokenWish("order-sync", scopes=("read.orders",), resource="api://stock"),
        "token-audience",
        'error="invalid_token"',
    ),
    Step(
        "A scope is missing, and named",
        "/orders/v1/42",
        403,
        TokenWish("order-sync", scopes=("create.orders",)),
        "scope-missing",
        'scope="read.orders"',
    ),
    Step("An AI agent reads an order for alice", "/orders/v1/42", 200, AGENT, why="the rule names claims-copilot"),
    Step("The same agent asks for the customer: people only", "/orders/v1/42/customer", 403, AGENT, "agent-not-named"),
    Step(
        "alice herself may",
        "/orders/v1/42/customer",
        200,
        TokenWish("orders-web", person="alice", scopes=("read.orders",)),
        why="the token speaks for a person, through an app",
    ),
    Step(
        "The policy is edited: the rule now names the agent; its next call",
        "/orders/v1/42/customer",
        200,
        AGENT,
        why="the policy in force is the edited one",
        edit=("GET /{order_id}/customer: {needs: read.orders, to: people}", "GET /{order_id}/customer: {needs: read.orders, to: [people, claims-copilot]}"),
    ),
    Step(
        "Around the gateway, straight to the API, with a header that says 'order-sync': the back door is closed",
        "/42",
        401,
        headers=(("x-agw-client-id", "order-sync"),),
        direct=True,
        why="the API lets in what brings the gateway's pass, and only the gateway sends one",
    ),
    Step("The service's token of step 1 is revoked: its next call", "/orders/v1/42", 401, SERVICE, "token-revoked", 'error="invalid_token"', revoke=True),
)

"""The pass: a JWT of the gateway's own, which proves to an upstream that a call came through the gateway, and nothing else.

It never says who called. One pass an API; Envoy puts it into each call that is let go on, and upstreams verify it with the published keys.
"""

from scopeward.passes.keys import PassKeys
from scopeward.passes.renewal import PassIssuer
from scopeward.passes.ring import LIFETIME

__all__ = ["LIFETIME", "PassIssuer", "PassKeys"]

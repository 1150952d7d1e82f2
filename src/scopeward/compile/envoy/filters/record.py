"""Note the verified claims for the log and for the identity headers, before the headers that carry them are removed."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import Json, typed

NOTES = {
    "sw.path": "%PATH(NQ)%",
    "sw.sub": f"%REQ({names.SUBJECT})%",
    "sw.cid": f"%REQ({names.CLIENT})%",
    "sw.scope": f"%REQ({names.SCOPE}?{names.SCP})%",
    "sw.jti": f"%REQ({names.TOKEN_ID})%",
    "sw.iat": f"%REQ({names.ISSUED_AT})%",
    "sw.exp": f"%REQ({names.EXPIRES})%",
}
"""Filter state by key. Each note costs every call a little: note only what the log needs."""


def build(_gateway: Gateway) -> Json:
    """One note a value; an absent claim leaves none."""
    return typed(
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            {
                "object_key": key,
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": text}, "omit_empty_values": True},
                "skip_if_empty": True,
            }
            for key, text in NOTES.items()
        ],
    )

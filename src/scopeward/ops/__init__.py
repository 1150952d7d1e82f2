"""What supervisors and monitors ask of a node, over HTTP on an address of its own: does it live, is it ready, its figures. Nothing about callers."""

from scopeward.ops.server import ops_server, serve_ops

__all__ = ["ops_server", "serve_ops"]

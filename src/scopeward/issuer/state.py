"""The provider's state directory."""

from __future__ import annotations

import secrets
from pathlib import Path

from scopeward.private_file import read_private, write_private
from scopeward.secret import Secret

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105  a file name


def load_admin_token(state_dir: Path) -> Secret:
    """The token that guards key rotation, made and kept at the first call."""
    path = state_dir / ADMIN_TOKEN_FILE
    kept = (read_private(path) or "").strip()
    if kept:
        return Secret(kept)
    token = secrets.token_urlsafe(32)
    write_private(path, token + "\n")
    return Secret(token)

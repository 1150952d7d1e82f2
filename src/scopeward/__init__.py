"""Scopeward: an environment-agnostic, identity-aware OAuth 2.0 gateway."""

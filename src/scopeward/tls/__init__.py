"""Certificates and keys: read from files and checked before Envoy sees them, read again when they change, and made for development."""

"""``scopeward`` and ``python -m scopeward``."""

from __future__ import annotations

from scopeward.cli import cli


def main() -> None:
    """Run the command line; ends the process with its status."""
    cli()


if __name__ == "__main__":
    main()

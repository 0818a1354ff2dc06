"""The `thyme` command: one file a family of commands, imported when it is called."""

from __future__ import annotations

from thyme.cli._app import main

__all__ = ["main"]

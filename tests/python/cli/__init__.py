"""The `thyme` command."""

"""The runner of `tests/cases/**/*.md`: one case, every door (see `tests/cases/README.md`)."""

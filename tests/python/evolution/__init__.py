"""Definitions that change while they are used."""

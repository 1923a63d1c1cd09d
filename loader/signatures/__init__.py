"""Decides whether a signed manifest is acceptable. Pure: no disk, no network, no clock of its own."""

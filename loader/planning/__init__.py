"""Decides what to do next. Pure: takes values, returns plans; no disk, no network, no clock."""

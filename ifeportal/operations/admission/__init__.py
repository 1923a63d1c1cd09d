"""Admission of operations: who waits, who starts, and why the others wait."""

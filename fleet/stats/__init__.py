"""Totals over loads: per tail, campaign and airline, over time, and readiness. Reads the database."""

"""Comparison of a listing of the status bucket with the known objects. Pure: no database, no clock, no bucket."""

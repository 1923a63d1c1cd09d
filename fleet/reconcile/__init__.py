"""A listing of the status bucket against the known objects. Pure: no database, no clock, no bucket."""

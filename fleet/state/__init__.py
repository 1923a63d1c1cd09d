"""State machines and rules of transfers and loads. Pure: no database, no clock, no bucket."""

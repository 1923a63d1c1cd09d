"""Lists of rows for people: queries from the address, and exports as CSV and JSON. Knows no model."""

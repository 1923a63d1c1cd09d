"""Tables of rows on pages: query string, columns, and export as CSV and JSON. Knows no model."""

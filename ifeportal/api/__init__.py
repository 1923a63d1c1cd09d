"""The shared part of the REST API: view sets, filters, pagination, authentication, schema, the feed of changes."""

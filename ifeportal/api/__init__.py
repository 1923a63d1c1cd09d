"""The shared part of the REST API: view sets, filters, pagination, authentication, schema, feed of changes."""

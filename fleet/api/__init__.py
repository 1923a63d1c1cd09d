"""The fleet in the API: view sets, serializers and filters."""

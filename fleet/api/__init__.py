"""API of the fleet: viewsets, serializers and filters."""

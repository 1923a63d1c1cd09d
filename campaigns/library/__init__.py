"""Library: content of an airline that belongs to no campaign yet."""

"""A campaign that is edited in the admin: scanned, hashed, validated and published by jobs."""

"""What a client may announce: names, sizes, parts, addresses and quotas."""

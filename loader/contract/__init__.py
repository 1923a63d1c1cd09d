"""The contract between ground and aircraft: names, keys and documents of both buckets. Pure; standard library only."""

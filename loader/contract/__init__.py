"""The contract both sides obey: names, keys and documents of the two buckets. Pure; standard library only."""

"""A load generator and a fault-injecting proxy, for tests and benchmarks. Uses no models."""

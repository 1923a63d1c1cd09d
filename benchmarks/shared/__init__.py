"""Goals, processes and peers that several benchmarks use."""

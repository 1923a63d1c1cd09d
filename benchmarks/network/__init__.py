"""A link with delay and loss between two network namespaces, for `benchmarks.lossy` and other benchmarks."""

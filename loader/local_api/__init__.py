"""HTTP over a Unix socket for programs on the aircraft: server, service and client."""

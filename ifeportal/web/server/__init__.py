"""The HTTP server daphne, with limits of the portal: requests, connections, slow readers, and its access log."""

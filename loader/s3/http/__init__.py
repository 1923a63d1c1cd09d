"""HTTP of S3: addresses, headers, connections, requests, responses and their XML."""

"""HTTP as S3 speaks it: addresses, headers, connections, requests and responses."""

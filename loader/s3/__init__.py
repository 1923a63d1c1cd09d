"""Client for object storage: listing, signing, retries, throughput. Knows nothing of campaigns."""

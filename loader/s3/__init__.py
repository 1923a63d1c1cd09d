"""Client for object storage: listings, signatures, retries, throughput. Independent of campaigns."""

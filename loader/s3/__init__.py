"""Client for object storage, and what every transfer to it needs:

listing, signing, retries, throughput. Knows nothing of campaigns.
"""

"""Reading both buckets into the database, by listing and by S3 event notifications."""

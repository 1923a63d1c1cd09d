"""Drafts of campaigns: edited in the admin; scanned, hashed, published and withdrawn by operations."""

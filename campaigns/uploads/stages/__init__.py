"""Stages of an upload in a worker: receive or fetch, complete, check, pack, place, record."""

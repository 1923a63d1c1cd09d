"""Carries out plans: downloads, verifies and links items with several threads, and completes campaigns."""

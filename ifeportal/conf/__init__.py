"""Settings from the environment, logging, and settings of the sign-in packages.

Imports nothing else of the portal.
"""

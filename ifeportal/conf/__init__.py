"""Settings read from the environment, logging, and the settings of the sign-in packages.

Imports nothing of the portal.
"""

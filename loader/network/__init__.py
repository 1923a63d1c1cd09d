"""Finds out whether the object store can be reached, and why not.

Opens sockets and runs the operator's link check.
"""

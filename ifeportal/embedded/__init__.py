"""SeaweedFS and child processes on the loopback interface, for the demo, the tests and development.

Touches no database.
"""

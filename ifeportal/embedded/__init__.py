"""SeaweedFS and child processes on the loopback interface, for demo, tests and development. Touches no database."""

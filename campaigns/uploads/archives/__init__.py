"""Archives: the check of a `.tgz`, its walk in a child process, and packing while streaming."""

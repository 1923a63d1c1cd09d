"""The demo: the complete system on one machine, with real loaders."""

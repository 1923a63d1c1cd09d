"""Runs the operator's command (LOADER_ON_LOADED) once for every installed item and campaign."""

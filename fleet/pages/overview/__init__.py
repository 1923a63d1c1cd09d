"""The fleet page: all airlines that the user may see."""

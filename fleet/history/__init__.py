"""Events and samples of loads and items: writing, retention and reading them at an earlier time."""

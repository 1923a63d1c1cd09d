"""The whole system on one machine with real loaders, for people to look at."""

"""The change feed: changes are published in the database and reach every open page and every program."""

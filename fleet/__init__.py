"""The status bucket in Django: tails, loads and transfers, as aircraft report them; polling, pages and API."""

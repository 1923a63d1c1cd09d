"""Settings forms, logo and colour of an airline. Touches rows of `Airline` and `Logo`."""

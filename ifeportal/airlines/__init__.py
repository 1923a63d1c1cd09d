"""An airline's settings forms, logo and colour. Touches rows of `Airline` and `Logo`."""

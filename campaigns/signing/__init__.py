"""Signs campaigns, and manages private keys and trust.json. Touches key files and the media bucket."""

"""Signs campaigns and manages the keys that do: private keys, trust.json. Touches key files and the media bucket."""

"""The page of an airline: its tails, campaigns and anomalies."""

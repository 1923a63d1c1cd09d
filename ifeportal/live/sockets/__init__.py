"""The live socket /ws/live/: who may connect, what is sent, and when access ends."""

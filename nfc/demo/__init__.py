"""`nfc demo`: two functions on a path, on real routes or in the simulator. Start at `run.run`."""

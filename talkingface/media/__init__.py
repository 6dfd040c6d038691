"""Files from and to arrays: video, sound and pictures; no networks."""

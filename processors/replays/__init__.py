"""Replay of topics and dead letters: what is chosen, how it is read, planned and published, and who stops it."""

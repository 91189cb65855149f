"""The receiver: verifies, validates and publishes webhooks; serves the OAuth routes."""

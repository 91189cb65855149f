"""A faithful fake HighLevel: consent page, tokens, stateful API with limits, signed webhooks, faults on demand."""

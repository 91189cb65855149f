"""The workers: consume deliveries, run handlers in order and once, park, dead-letter."""

"""Every metric with its help, labels and buckets; labels are closed sets, never tenant ids or free text.

Made per process in a registry of its own and passed on as an argument, so that tests don't share any.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_BODY_BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576)


class ReceiverMetrics:
    """What the receiver exports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.received = Counter(
            "levelgate_deliveries_received_total",
            "Webhooks answered, by outcome",
            ["app", "outcome"],
            registry=registry,
        )
        self.receive_duration = Histogram(
            "levelgate_receive_duration_seconds",
            "From the request's head to its answer",
            ["outcome"],
            buckets=_FAST_S,
            registry=registry,
        )
        self.body_size = Histogram(
            "levelgate_received_body_bytes", "Size of bodies read", ["app"], buckets=_BODY_BYTES, registry=registry
        )
        self.published = Counter(
            "levelgate_published_total", "Records the broker acknowledged", ["family"], registry=registry
        )
        self.publish_failures = Counter(
            "levelgate_publish_failures_total",
            "Webhooks refused because of the broker (timeout, fatal, too_large, full, no_topic)",
            ["reason"],
            registry=registry,
        )
        self.publish_duration = Histogram(
            "levelgate_publish_duration_seconds",
            "From handing a record over to its acknowledgement",
            buckets=_FAST_S,
            registry=registry,
        )
        self.producer_replacements = Counter(
            "levelgate_producer_replacements_total", "Producers given up after a fatal error", registry=registry
        )
        self.in_flight = Gauge("levelgate_receive_in_flight", "Webhooks taken and not answered yet", registry=registry)
        self.oauth_callbacks = Counter(
            "levelgate_oauth_callbacks_total", "OAuth callbacks, by outcome", ["app", "outcome"], registry=registry
        )


class ApiMetrics:
    """What API calls and token refreshes export; in workers and in the receiver."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "levelgate_api_calls_total",
            "Calls of HighLevel's API by operation family and status class (2xx, 4xx, 429, 5xx, none)",
            ["app", "family", "status"],
            registry=registry,
        )
        self.calls_deferred = Counter(
            "levelgate_api_calls_deferred_total",
            "Calls put off because their tenant's limits were spent; the vendor was not asked",
            ["app"],
            registry=registry,
        )
        self.call_duration = Histogram(
            "levelgate_api_call_duration_seconds",
            "Duration of API calls",
            ["family"],
            buckets=_SLOW_S,
            registry=registry,
        )
        self.token_refreshes = Counter(
            "levelgate_token_refreshes_total",
            "Access tokens fetched (refresh or exchange), by outcome",
            ["app", "outcome"],
            registry=registry,
        )


class WorkerMetrics:
    """What a worker exports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.consumed = Counter(
            "levelgate_deliveries_consumed_total", "Deliveries read from Kafka", ["app", "family"], registry=registry
        )
        self.handled = Counter(
            "levelgate_pairs_handled_total",
            "Pairs that ended, by outcome (done, coalesced, skipped, parked, backlog, dead, cancelled)",
            ["handler", "type", "outcome"],
            registry=registry,
        )
        self.handler_duration = Histogram(
            "levelgate_handler_duration_seconds",
            "Duration of one run of a handler",
            ["handler", "outcome"],
            buckets=_SLOW_S,
            registry=registry,
        )
        self.lag = Gauge(
            "levelgate_lag_records",
            "Records published and not finished, over our partitions",
            ["family"],
            registry=registry,
        )
        self.oldest_unfinished = Gauge(
            "levelgate_oldest_unfinished_age_seconds",
            "Age of the oldest delivery read and not finished; 0 where there is none",
            ["family"],
            registry=registry,
        )
        self.in_flight = Gauge("levelgate_handling_in_flight", "Deliveries being handled", registry=registry)
        self.parked = Gauge("levelgate_parked_pairs", "Pairs parked on our partitions", ["reason"], registry=registry)
        self.dead = Counter("levelgate_dead_pairs_total", "Pairs given up", ["handler", "type"], registry=registry)
        self.partitions = Gauge(
            "levelgate_partitions", "Partition numbers by state (claiming, active, odd)", ["state"], registry=registry
        )
        self.circuit_open = Gauge(
            "levelgate_circuit_open",
            "Whether work stands still because a dependency (highlevel, postgres) fails for everyone",
            ["dependency"],
            registry=registry,
        )
        self.handler_braked = Gauge(
            "levelgate_handler_braked",
            "Whether a handler stands still, live or in replays: too many runs failed; 1 until probes ended well",
            ["handler", "run"],
            registry=registry,
        )
        self.stalled = Gauge(
            "levelgate_stalled_seconds",
            "For how long nothing has moved although there is work; 0 while all is well",
            registry=registry,
        )
        self.fenced = Counter(
            "levelgate_fenced_total", "Partitions dropped because another worker owns them", registry=registry
        )
        self.offsets_lost = Counter(
            "levelgate_offsets_lost_total",
            "Records that retention took before they were read",
            ["family"],
            registry=registry,
        )
        self.ledger_flush_duration = Histogram(
            "levelgate_ledger_flush_duration_seconds",
            "Duration of one write of the ledger",
            buckets=_FAST_S,
            registry=registry,
        )

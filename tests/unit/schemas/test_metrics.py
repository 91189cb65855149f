import re

import pytest
from prometheus_client import CollectorRegistry

from schemas.metrics import ApiMetrics, ReceiverMetrics, WorkerMetrics


@pytest.fixture
def metrics():
    registry = CollectorRegistry()
    for exporter in (ReceiverMetrics, WorkerMetrics, ApiMetrics):
        exporter(registry)
    return list(registry.collect())


def test_names_are_ours_and_plain(metrics):
    assert metrics
    for metric in metrics:
        assert re.fullmatch(r"levelgate(_[a-z]+)+", metric.name), metric.name
        assert metric.documentation


def test_units_are_base_units_and_stand_last(metrics):
    for metric in metrics:
        words = metric.name.split("_")
        assert not {"ms", "milliseconds", "minutes", "kb", "percent", "total"} & set(words), metric.name
        assert not {"seconds", "bytes", "ratio"} & set(words[:-1]), metric.name
        if metric.type == "histogram":
            assert words[-1] in {"seconds", "bytes"}, metric.name


def test_all_parts_of_a_process_fit_into_one_registry(metrics):
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names))


def test_labels_are_closed_sets_never_ids_of_tenants_or_deliveries():
    registry = CollectorRegistry()
    labels = set()
    for exporter in (ReceiverMetrics, WorkerMetrics, ApiMetrics):
        for metric in vars(exporter(registry)).values():
            labels.update(metric._labelnames)  # noqa: SLF001 -- a metric without children shows its labels nowhere else
    assert labels <= {
        "app",
        "dependency",
        "family",
        "handler",
        "outcome",
        "reason",
        "run",
        "state",
        "status",
        "topic",
        "type",
    }

"""What the gateway counts, for Prometheus; OpenTelemetry's names of GenAI where they exist.

Label values are bounded: providers and families are the config's, any other is `other`. Counting is a
dictionary's update, as it stands on every request's way; the library comes in when somebody looks.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import Metric

    from llm_policy_host.values import Attempt, Result

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


class Metrics:
    """One registry of its own; nothing is shared between gateways."""

    def __init__(self, names: Callable[[], frozenset[str]]) -> None:
        self._names = names
        self._seen: set[str] = set()
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "llm_policy_requests", "requests by path and status", ("path", "status")
        )
        self._duration = self._histogram(
            "gen_ai_server_request_duration_seconds",
            "from a request to the end of its answer",
            ("path",),
            _SECONDS,
        )
        self._attempts = self._histogram(
            "gen_ai_client_operation_duration_seconds",
            "attempts at providers",
            ("gen_ai_provider_name", "gen_ai_request_model", "error_type"),
            _SECONDS,
        )
        self._ttft = self._histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "from a streamed attempt's start to its first content",
            ("gen_ai_provider_name", "gen_ai_request_model"),
            _SECONDS,
        )
        self._tokens = self._histogram(
            "gen_ai_client_token_usage",
            "tokens of whole answers",
            ("gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
            _TOKENS,
        )
        self._cost = self._counter("llm_policy_cost_usd", "USD by basis, where known", ("provider", "basis"))

    def request(self, path: str, status: int, seconds: float, result: Result | None) -> None:
        """Count a request that is over."""
        self._requests.add(path, str(status))
        self._duration.add(path, amount=seconds)
        if result is not None and result.chosen:
            self._count_usage(result, result.chosen)

    def _count_usage(self, result: Result, chosen: Mapping[str, str]) -> None:
        provider, model = self._known(chosen["provider_id"]), self._known(chosen["model_family"])
        usage = result.response.usage if result.response else None
        if usage is not None:
            spoken = usage.output_tokens + usage.reasoning_tokens
            self._tokens.add(provider, model, "input", amount=usage.total_tokens - spoken)
            self._tokens.add(provider, model, "output", amount=spoken)
        if result.cost.usd is not None:
            self._cost.add(provider, result.cost.basis, amount=result.cost.usd)

    def attempt(self, attempt: Attempt) -> None:
        """Count an attempt that is over."""
        provider, model = self._known(attempt.provider_id), self._known(attempt.model_family)
        self._attempts.add(provider, model, attempt.kind or "", amount=attempt.took_ms / 1000)
        if attempt.is_stream and attempt.ttft_ms is not None:
            self._ttft.add(provider, model, amount=attempt.ttft_ms / 1000)

    def watch(self, gauges: Callable[[], Iterable[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        """Add gauges that are read when somebody looks: name, words, label, value by label."""
        self.registry.register(_Gauges(gauges))

    def text(self) -> bytes:
        """Give everything as Prometheus reads it."""
        return generate_latest(self.registry)

    def _known(self, name: str) -> str:
        if name in self._seen:
            return name
        if name not in self._names():
            return "other"
        self._seen.add(name)
        return name

    def _counter(self, name: str, words: str, labels: Sequence[str]) -> _Counter:
        counter = _Counter(name, words, labels)
        self.registry.register(counter)
        return counter

    def _histogram(self, name: str, words: str, labels: Sequence[str], bounds: Sequence[float]) -> _Histogram:
        histogram = _Histogram(name, words, labels, bounds)
        self.registry.register(histogram)
        return histogram


class _Counter(Collector):
    """Sums by their labels' values."""

    def __init__(self, name: str, words: str, labels: Sequence[str]) -> None:
        self._name, self._words, self._labels = name, words, labels
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, *values: str, amount: float = 1) -> None:
        self._sums[values] = self._sums.get(values, 0) + amount

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._words, labels=self._labels)
        for values, amount in sorted(self._sums.items()):
            family.add_metric(values, amount)
        yield family


class _Histogram(Collector):
    """Counts by their labels' values: of each bound and, last, beyond all; and the sum."""

    def __init__(self, name: str, words: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._words, self._labels, self._bounds = name, words, labels, bounds
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, *values: str, amount: float) -> None:
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
            self._sums[values] = 0.0
        counts[bisect_left(self._bounds, amount)] += 1
        self._sums[values] += amount

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._words, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, counts in sorted(self._counts.items()):
            buckets = list(zip(names, accumulate(counts), strict=True))
            family.add_metric(values, buckets=buckets, sum_value=self._sums[values])
        yield family


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], Iterable[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, words, label, values in self._gauges():
            family = GaugeMetricFamily(name, words, labels=[label] if label else [])
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            yield family

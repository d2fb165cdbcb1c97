"""What the gateway counts, for Prometheus; OpenTelemetry's names of GenAI where they exist.

Label values are bounded: providers and families are the config's, any other is `other`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from llm_policy_host.values import Attempt, Result

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


class Metrics:
    """One registry of its own; nothing is shared between gateways."""

    def __init__(self, names: Callable[[], frozenset[str]]) -> None:
        self._names = names
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "llm_policy_requests", "requests by path and status", ("path", "status"), registry=self.registry
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "from a request to the end of its answer",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._attempts = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "attempts at providers",
            ("gen_ai_provider_name", "gen_ai_request_model", "error_type"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ttft = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "from a streamed attempt's start to its first content",
            ("gen_ai_provider_name", "gen_ai_request_model"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "tokens of whole answers",
            ("gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
            buckets=_TOKENS,
            registry=self.registry,
        )
        self._cost = Counter(
            "llm_policy_cost_usd", "USD by basis, where known", ("provider", "basis"), registry=self.registry
        )

    def request(self, path: str, status: int, seconds: float, result: Result | None) -> None:
        """Count a request that is over."""
        self._requests.labels(path, str(status)).inc()
        self._duration.labels(path).observe(seconds)
        if result is not None and result.chosen:
            self._count_usage(result, result.chosen)

    def _count_usage(self, result: Result, chosen: Mapping[str, str]) -> None:
        provider, model = self._known(chosen["provider_id"]), self._known(chosen["model_family"])
        usage = result.response.usage if result.response else None
        if usage is not None:
            spoken = usage.output_tokens + usage.reasoning_tokens
            self._tokens.labels(provider, model, "input").observe(usage.total_tokens - spoken)
            self._tokens.labels(provider, model, "output").observe(spoken)
        if result.cost.usd is not None:
            self._cost.labels(provider, result.cost.basis).inc(result.cost.usd)

    def attempt(self, attempt: Attempt) -> None:
        """Count an attempt that is over."""
        provider, model = self._known(attempt.provider_id), self._known(attempt.model_family)
        self._attempts.labels(provider, model, attempt.kind or "").observe(attempt.took_ms / 1000)
        if attempt.is_stream and attempt.ttft_ms is not None:
            self._ttft.labels(provider, model).observe(attempt.ttft_ms / 1000)

    def watch(self, gauges: Callable[[], Iterable[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        """Add gauges that are read when somebody looks: name, words, label, value by label."""
        self.registry.register(_Gauges(gauges))

    def text(self) -> bytes:
        """Give everything as Prometheus reads it."""
        return generate_latest(self.registry)

    def _known(self, name: str) -> str:
        return name if name in self._names() else "other"


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], Iterable[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, words, label, values in self._gauges():
            family = GaugeMetricFamily(name, words, labels=[label] if label else [])
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            yield family

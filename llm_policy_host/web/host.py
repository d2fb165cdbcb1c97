"""What the gateway needs of a host, so that it need not know how one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from llm_policy_host.core.language import Language
    from llm_policy_host.ports import Clock
    from llm_policy_host.run.driver import Live
    from llm_policy_host.run.flows import FlowRun
    from llm_policy_host.run.lanes import Lanes
    from llm_policy_host.values import Contract, Origin, Plain, Ranking, Result


class GatewayHost(Protocol):
    """A host at work: one config, one engine."""

    clock: Clock
    disabled: Mapping[str, str]
    """Providers that cannot be called by this host, and why."""

    @property
    def catalog(self) -> Mapping[str, Any]:
        """Give the config as the core has it: providers, models, profiles, defaults."""

    @property
    def engine(self) -> Any:  # noqa: ANN401 - the core's engine, here or in its child
        """Give the core's engine, for the helpers that ask it directly."""

    def in_use(self) -> AbstractContextManager[object]:
        """Count a request as under way: a host that is replaced meanwhile stays open for it."""

    async def run(self, contract: Contract) -> Result:
        """Take a contract to its result."""

    def waiting(self, approval: str, origin: Origin | None = None) -> Contract | None:
        """Give a request that waits, where its text is kept."""

    def live(self, contract: Contract) -> Live | FlowRun:
        """Begin a streamed run."""

    def rank(self, contract: Contract) -> Ranking:
        """Say who would serve a contract."""

    def explain(self, contract: Contract) -> Plain:
        """Say why a contract's plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`."""

    @property
    def language(self) -> Language:
        """Give what reads terms."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Give what a term may name here besides the core's own."""

    def status(self) -> Plain:
        """Give the health of every provider."""

    def lanes(self) -> Lanes:
        """Give the present loop's lanes."""

    def open_until_ms(self) -> Mapping[str, float]:
        """Give until when each provider or route `provider|family` is shut, by breaker or disabled."""

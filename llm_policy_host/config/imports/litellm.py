"""A LiteLLM proxy's `config.yaml` as a config of ours.

A deployment is a route; who it goes to, with which key, is a provider; a model group is a family. A
group's fallbacks are a profile of its name. What LiteLLM knows of models from its own tables is not
in the file: capabilities that it does not name are taken as given, prices are the vendors'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import UsageError

from .imported import (
    CHEAPEST,
    PROMPTEST,
    Imported,
    failures,
    is_name,
    is_number,
    preferring,
    usd_per_mtok,
    word,
)
from .vendors import VENDORS, vendor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = "os.environ/"
_CAPABILITIES = {
    "supports_function_calling": "supports_tools",
    "supports_vision": "supports_vision",
    "supports_response_schema": "supports_json_mode",
}
# of a deployment: read here, or without a meaning outside of that gateway
_READ = frozenset(
    {
        "model",
        "api_base",
        "base_url",
        "api_key",
        "weight",
        "order",
        "input_cost_per_token",
        "output_cost_per_token",
        "aws_region_name",
        "max_parallel_requests",
        "custom_llm_provider",
    }
)
_READ_INFO = frozenset(
    {"id", "mode", "base_model", "max_input_tokens", "max_tokens", "input_cost_per_token", *_CAPABILITIES}
) | {"output_cost_per_token", "max_output_tokens", "description"}
_WHY: Final[Mapping[str, str]] = {
    "rpm": "no limit by the minute here: `host.lanes` bounds calls at once",
    "tpm": "no limit by the minute here: `host.lanes` bounds calls at once",
    "api_version": "addresses of that form are not spoken: point `base_url` at the vendor's `/openai/v1`",
    "timeout": "no bound of one route's own: a profile's `set_param: {timeout_ms: …}` is every route's",
    "stream_timeout": "no bound of one route's own: a profile's `set_param: {ttft_ms: …}` is every route's",
    "aws_access_key_id": "keys are not written here: they come from the environment",
    "aws_secret_access_key": "keys are not written here: they come from the environment",
}
_SENT = "nothing is added to a call of one route: callers, or a profile's `mutate`, say it"
_STRATEGIES: Final[Mapping[str, list[Any] | None]] = {
    "simple-shuffle": None,
    "latency-based-routing": PROMPTEST,
    "cost-based-routing": CHEAPEST,
}
_EVEN = 1000
"""A temperature at which a draw is even, near enough: the next in order is 0.999 times as likely."""


def import_litellm(data: Any) -> Imported:  # noqa: ANN401 - as the file has it
    """Make a config of a LiteLLM proxy's."""
    if not isinstance(data, dict) or not isinstance(data.get("model_list"), list):
        raise UsageError("this is no LiteLLM config: it has no `model_list`")
    return _Import(data).run()


class _Import:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._out = Imported()
        self._names: dict[tuple[Any, ...], str] = {}
        self._orders: set[float] = set()
        self._has_weights = False
        self._is_assumed = False
        self._lanes: dict[str, int] = {}

    def run(self) -> Imported:
        """Read every part in its order."""
        for index, entry in enumerate(self._data["model_list"]):
            self._deployment(f"model_list[{index}]", entry)
        settings = self._section("litellm_settings")
        router = {
            **{key: settings[key] for key in _ROUTER_KEYS & settings.keys()},
            **self._section("router_settings"),
        }
        if not self._out.models:
            raise UsageError("no deployment of this file can be converted")
        self._aliases(router)
        self._failures(router, settings)
        self._default_profile(router)
        self._fallbacks(router)
        self._rest(router, settings)
        self._keys()
        self._finish()
        return self._out

    def _section(self, name: str) -> dict[str, Any]:
        value = self._data.get(name)
        return dict(value) if isinstance(value, dict) else {}

    # Deployments ------------------------------------------------------------------------------

    def _deployment(self, path: str, entry: Any) -> None:  # noqa: ANN401 - as the file has it
        family = entry.get("model_name") if isinstance(entry, dict) else None
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if not is_name(family) or not isinstance(params, dict) or not is_name(params.get("model")):
            self._out.lose(path, "no `model_name` with a `litellm_params.model`")
            return
        if "*" in family or "*" in params["model"]:
            self._out.lose(path, f"`{family}` stands for many models: name each")
            return
        given = params["model"]
        if is_name(params.get("custom_llm_provider")):
            given = f"{params['custom_llm_provider']}/{given}"
        base = params.get("api_base") or params.get("base_url")
        parted = vendor_of(given) or (("openai_like", given) if base else None)
        if parted is None:
            self._out.lose(f"{path}.litellm_params.model", f"`{given}` is of a vendor that is not known here")
            return
        provider = self._provider(path, parted[0], base, params)
        if provider is None:
            return
        info = entry.get("model_info") if isinstance(entry.get("model_info"), dict) else {}
        model = self._out.models.setdefault(family, {"served_by": []})
        model["served_by"].append(self._route(path, provider, parted[1], params, info))
        self._lose_rest(path, params, info)

    def _provider(self, path: str, name: str, base: Any, params: Mapping[str, Any]) -> str | None:  # noqa: ANN401
        """Find or make the provider of a deployment: an address with a key."""
        vendor = VENDORS[name]
        base_url = self._address(path, base) or vendor.base_url
        if base_url is None and vendor.api_kind == "openai_compatible":
            self._out.lose(f"{path}.litellm_params.api_base", f"`{name}` needs an address in the file itself")
            return None
        key = self._key(f"{path}.litellm_params.api_key", name, params.get("api_key"))
        region = self._region(path, params.get("aws_region_name"))
        identity = (name, base_url, key, region)
        if identity in self._names:
            provider = self._names[identity]
        else:
            provider = self._names[identity] = self._free_name(name)
            made: dict[str, Any] = {}
            if vendor.api_kind != "openai_compatible":
                made["api_kind"] = vendor.api_kind
            if base_url is not None:
                made["base_url"] = base_url
            if key is not None:
                made["auth_env"] = key
            if region is not None:
                made["aws_region"] = region
            self._out.providers[provider] = made
        bound = params.get("max_parallel_requests")
        if is_number(bound) and bound >= 1:
            self._lanes[provider] = self._lanes.get(provider, 0) + int(bound)
        return provider

    def _address(self, path: str, base: Any) -> str | None:  # noqa: ANN401 - as the file has it
        if base is None:
            return None
        if not isinstance(base, str) or base.startswith(_ENVIRONMENT):
            self._out.lose(f"{path}.litellm_params.api_base", "an address stands in the config itself")
            return None
        if "@" in base or not base.startswith(("http://", "https://")):
            self._out.lose(f"{path}.litellm_params.api_base", "no plain address of HTTP")
            return None
        return base.rstrip("/")

    def _region(self, path: str, given: Any) -> str | None:  # noqa: ANN401 - as the file has it
        if given is None:
            return None
        if not is_name(given) or given.startswith(_ENVIRONMENT):
            self._out.lose(f"{path}.litellm_params.aws_region_name", "a region stands in the config itself")
            return None
        return str(given)

    def _key(self, path: str, name: str, given: Any) -> str | None:  # noqa: ANN401 - as the file has it
        """Give the variable that holds a key; one in plain text is never written down."""
        if given is None:
            return VENDORS[name].key
        text = str(given)
        if text.startswith(_ENVIRONMENT) and is_name(text.removeprefix(_ENVIRONMENT)):
            return text.removeprefix(_ENVIRONMENT)
        if name in ("ollama", "bedrock"):
            return None
        variable = VENDORS[name].key or f"{word(name).upper().replace('-', '_')}_API_KEY"
        self._out.change(path, f"a key in plain text is not copied: put it into `{variable}`")
        return variable

    def _free_name(self, name: str) -> str:
        base = word(name)
        taken = self._out.providers
        return (
            base
            if base not in taken
            else next(f"{base}-{n}" for n in range(2, len(taken) + 3) if f"{base}-{n}" not in taken)
        )

    def _route(
        self, path: str, provider: str, model: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> dict[str, Any]:
        route: dict[str, Any] = {"provider": provider, "provider_model_id": model}
        for ours, theirs in (("price_in", "input_cost_per_token"), ("price_out", "output_cost_per_token")):
            price = params.get(theirs, info.get(theirs))
            if is_number(price):
                route[ours] = usd_per_mtok(float(price))
            elif price is not None:
                self._out.lose(f"{path}.litellm_params.{theirs}", "no number of USD")
        for ours, theirs in (("weight", "weight"), ("route_order", "order")):
            if is_number(params.get(theirs)):
                route[ours] = params[theirs]
            elif params.get(theirs) is not None:
                self._out.lose(f"{path}.litellm_params.{theirs}", "no number of at least 0")
        self._has_weights = self._has_weights or "weight" in route
        self._orders |= {route["route_order"]} if "route_order" in route else set()
        route["capabilities"] = self._capabilities(info)
        return route

    def _capabilities(self, info: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if is_number(info.get("max_input_tokens")):
            found["context"] = info["max_input_tokens"]
        if info.get("mode") == "embedding":
            return {**found, "embeddings": True}
        for theirs, ours in _CAPABILITIES.items():
            if isinstance(info.get(theirs), bool):
                found[ours] = info[theirs]
            else:
                found[ours] = self._is_assumed = True
        return found

    def _lose_rest(self, path: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        for key in params:
            if key not in _READ and params[key] is not None:
                self._out.lose(f"{path}.litellm_params.{key}", _WHY.get(key, _SENT))
        for key in info:
            if key not in _READ_INFO:
                self._out.lose(f"{path}.model_info.{key}", "nothing here reads it: declare it under `fields`")

    # Routing ----------------------------------------------------------------------------------

    def _aliases(self, router: Mapping[str, Any]) -> None:
        aliases = router.get("model_group_alias")
        for alias, target in (aliases if isinstance(aliases, dict) else {}).items():
            name = target.get("model") if isinstance(target, dict) else target
            models = self._out.models
            if is_name(alias) and is_name(name) and name in models and alias not in models:
                models[alias] = {"served_by": list(models[name]["served_by"])}
            else:
                self._out.lose(
                    f"router_settings.model_group_alias.{alias}", f"no model `{name}` to stand for"
                )

    def _failures(self, router: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        retries, cooldown, fails = (
            router.get(key) for key in ("num_retries", "cooldown_time", "allowed_fails")
        )
        defaults = self._out.parts.setdefault("defaults", {"profile": "default"})
        cooldown_ms = round(cooldown * 1000) if is_number(cooldown) else None
        if cooldown_ms is not None:
            defaults["circuit_breaker_failure_ms"] = defaults["circuit_breaker_rate_limit_ms"] = cooldown_ms
        if is_number(fails):
            defaults["circuit_breaker_threshold"] = int(fails) + 1
        timeout = router.get("timeout", settings.get("request_timeout"))
        if is_number(timeout) and timeout > 0:
            defaults["timeout_ms"] = round(timeout * 1000)
        attempts = int(retries) if is_number(retries) else 0
        if attempts:
            self._out.change(
                "router_settings.num_retries", "retried is the same route; then the next one is asked"
            )
        self._out.parts["retry_policies"] = {"imported": failures(attempts, cooldown_ms)}

    def _default_profile(self, router: Mapping[str, Any]) -> None:
        strategy = router.get("routing_strategy", "simple-shuffle")
        profile: dict[str, Any] = {"filter": ["requirements", "not_disabled"]}
        scorer = _STRATEGIES.get(str(strategy))
        if str(strategy) not in _STRATEGIES:
            self._out.lose(
                "router_settings.routing_strategy", f"`{strategy}`: routes are drawn evenly instead"
            )
        selector: list[Any] = ["argmax"]
        if scorer is None:
            selector = ["sample", _EVEN]
            if self._has_weights:
                scorer, selector = ["field", "weight"], ["sample", 1]
                detail = "the heavier route is drawn likelier, by rank: not in proportion to the weights"
                self._out.change("model_list[].litellm_params.weight", detail)
        if scorer is not None:
            profile["scorer"] = scorer
        orders: list[list[Any]] = [["cmp", "route_order", "le", order] for order in sorted(self._orders)]
        profile["selector"] = preferring(orders[:16], selector)
        profile["retry_policy"] = "imported"
        self._out.profiles["default"] = profile
        self._declare()

    def _declare(self) -> None:
        fields = {}
        if self._has_weights:
            fields["weight"] = {"sort": "Num", "default": 1}
        if self._orders:
            fields["route_order"] = {"sort": "Num"}
        if fields:
            self._out.parts["fields"] = fields

    def _fallbacks(self, router: Mapping[str, Any]) -> None:
        """Make a profile of each group with fallbacks: the group first, then the others in their order."""
        given = router.get("fallbacks")
        for index, entry in enumerate(given if isinstance(given, list) else []):
            path = f"router_settings.fallbacks[{index}]"
            for family, others in (entry if isinstance(entry, dict) else {}).items():
                self._fallback(f"{path}.{family}", family, others)

    def _fallback(self, path: str, family: str, others: Any) -> None:  # noqa: ANN401 - as the file has it
        wanted = [family, *(others if isinstance(others, list) else [])]
        known = [name for name in wanted if isinstance(name, str) and name in self._out.models]
        if family not in known or len(known) < 2:
            self._out.lose(path, "no two of these models are in the file")
            return
        for name in wanted:
            if name not in known:
                self._out.lose(path, f"no model `{name}` in the file")
        if family == "default":
            self._out.lose(path, "the profile `default` is the routing strategy's")
            return
        selector = preferring(
            [["family_eq", name] for name in known[:16]], self._out.profiles["default"]["selector"]
        )
        self._out.profiles[family] = {
            "extends": "default",
            "filter": ["requirements", "not_disabled", {"family_in": known}],
            "selector": selector,
        }
        self._out.change(path, f"fallbacks are a profile: callers ask for `profile:{family}`, not `{family}`")

    # Everything else --------------------------------------------------------------------------

    def _rest(self, router: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        for key in router:
            if key not in _ROUTER_READ:
                self._out.lose(f"router_settings.{key}", _ROUTER_WHY.get(key, "nothing here does this"))
        for key in settings:
            if key not in _ROUTER_KEYS and key not in _SETTINGS_READ:
                self._out.lose(f"litellm_settings.{key}", "nothing here does this")
        known = {"model_list", "litellm_settings", "router_settings", "general_settings"}
        for key in self._data:
            if key not in known:
                self._out.lose(key, "nothing here reads it")
        for key in self._section("general_settings"):
            if key != "master_key":
                self._out.lose(f"general_settings.{key}", "nothing here does this")

    def _keys(self) -> None:
        key = self._section("general_settings").get("master_key")
        if key is None:
            return
        variable = "LITELLM_MASTER_KEY"
        if isinstance(key, str) and key.startswith(_ENVIRONMENT) and key != _ENVIRONMENT:
            variable = key.removeprefix(_ENVIRONMENT)
        else:
            detail = f"a key in plain text is not copied: put it into `{variable}`"
            self._out.change("general_settings.master_key", detail)
        self._host()["keys"] = {"master": {"env": variable, "may": ["policy", "metadata", "admin"]}}

    def _host(self) -> dict[str, Any]:
        host: dict[str, Any] = self._out.parts.setdefault("host", {})
        return host

    def _finish(self) -> None:
        if self._lanes:
            self._host()["lanes"] = {name: {"max_in_flight": bound} for name, bound in self._lanes.items()}
        detail = "a name that is no model here is no error: `default` decides who answers"
        self._out.change("model_list[].model_name", detail)
        if self._is_assumed:
            detail = "tools, vision and JSON are taken to be supported where the file does not say"
            self._out.change("model_list[].model_info", detail)


_ROUTER_KEYS = frozenset(
    {"num_retries", "fallbacks", "allowed_fails", "cooldown_time", "model_group_alias", "default_fallbacks"}
    | {"context_window_fallbacks", "content_policy_fallbacks", "routing_strategy"}
)
_ROUTER_READ = frozenset(
    {"num_retries", "fallbacks", "allowed_fails", "cooldown_time", "model_group_alias", "routing_strategy"}
    | {"timeout", "enable_pre_call_checks"}
)
_ROUTER_WHY: Final[Mapping[str, str]] = {
    "default_fallbacks": "a profile names its own families: give `default` a `filter` and a `selector`",
    "context_window_fallbacks": "a long request goes on to the next route of its own profile",
    "content_policy_fallbacks": "a filtered request goes on to the next route of its own profile",
}
_SETTINGS_READ = frozenset({"request_timeout", "drop_params", "set_verbose"})

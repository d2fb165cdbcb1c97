"""Vendors as other gateways name them: dialect, address, and the variable where the key usually is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor's API; without an address the file must give one, or the dialect has its own."""

    api_kind: str = "openai_compatible"
    base_url: str | None = None
    key: str | None = None


VENDORS: Final[Mapping[str, Vendor]] = {
    "openai": Vendor(base_url="https://api.openai.com/v1", key="OPENAI_API_KEY"),
    "anthropic": Vendor("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "gemini": Vendor("google", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"),
    "bedrock": Vendor("bedrock"),
    "ollama": Vendor("ollama"),
    "groq": Vendor(base_url="https://api.groq.com/openai/v1", key="GROQ_API_KEY"),
    "mistral": Vendor(base_url="https://api.mistral.ai/v1", key="MISTRAL_API_KEY"),
    "deepseek": Vendor(base_url="https://api.deepseek.com/v1", key="DEEPSEEK_API_KEY"),
    "openrouter": Vendor(base_url="https://openrouter.ai/api/v1", key="OPENROUTER_API_KEY"),
    "together_ai": Vendor(base_url="https://api.together.xyz/v1", key="TOGETHERAI_API_KEY"),
    "fireworks_ai": Vendor(base_url="https://api.fireworks.ai/inference/v1", key="FIREWORKS_AI_API_KEY"),
    "xai": Vendor(base_url="https://api.x.ai/v1", key="XAI_API_KEY"),
    "perplexity": Vendor(base_url="https://api.perplexity.ai", key="PERPLEXITYAI_API_KEY"),
    "deepinfra": Vendor(base_url="https://api.deepinfra.com/v1/openai", key="DEEPINFRA_API_KEY"),
    "cerebras": Vendor(base_url="https://api.cerebras.ai/v1", key="CEREBRAS_API_KEY"),
    "nvidia_nim": Vendor(base_url="https://integrate.api.nvidia.com/v1", key="NVIDIA_NIM_API_KEY"),
    "azure": Vendor(key="AZURE_API_KEY"),
    "hosted_vllm": Vendor(),
    "lm_studio": Vendor(),
    "litellm_proxy": Vendor(),
    "openai_like": Vendor(),
}
"""By the word before the slash in a model's name."""

ALIASES: Final[Mapping[str, str]] = {
    "ollama_chat": "ollama",
    "custom_openai": "openai_like",
    "text-completion-openai": "openai",
    "azure_ai": "azure",
    "google_ai_studio": "gemini",
}

_BEGINNINGS: Final[Mapping[str, str]] = {
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "text-embedding-": "openai",
    "claude": "anthropic",
    "gemini": "gemini",
    "mistral": "mistral",
    "deepseek": "deepseek",
}


def vendor_of(model: str) -> tuple[str, str] | None:
    """Part a model's name into its vendor's word and the name there; None for a vendor not known here."""
    prefix, slash, name = model.partition("/")
    prefix = ALIASES.get(prefix, prefix)
    if slash and prefix in VENDORS:
        return prefix, name
    if slash:
        return None
    for beginning, vendor in _BEGINNINGS.items():
        if model.startswith(beginning):
            return vendor, model
    return None

"""What a config may say of a provider's secret, and what a dialect fills in."""

from __future__ import annotations

import pytest

from llm_policy_host.config.auths import read_auths
from llm_policy_host.config.yaml_file import parse_yaml

OAUTH = "kind: oauth, token_url: 'https://a.example/t', client_id: me"


def _problems(auth: str, kind: str = "openai_compatible") -> list[str]:
    document = parse_yaml(f"providers:\n  p: {{api_kind: {kind}, auth: {{{auth}}}}}\n", "f")
    read_auths(document)
    return [str(problem).partition("$.providers.p.auth")[2] for problem in document.problems]


@pytest.mark.parametrize(
    ("auth", "problems"),
    [
        (OAUTH, []),
        (f"{OAUTH}, accounts: [a, b], scope: '', device_flow: chatgpt, store: x", []),
        ("kind: oauth, token_url: 'http://127.0.0.1:1/t', client_id: me", []),
        ("kind: oauth", [".token_url: is wanted of `oauth`", ".client_id: is wanted of `oauth`"]),
        (f"{OAUTH}, tokn_url: x", [".tokn_url: unknown key `tokn_url` (did you mean `token_url`?)"]),
        (f"{OAUTH}, accounts: [a, a]", [".accounts: must be a list of names"]),
        (f"{OAUTH}, accounts: []", [".accounts: must be a list of names"]),
        (f"{OAUTH}, device_flow: x", [".device_flow: must be `rfc8628` or `chatgpt`"]),
        ("kind: bearer, keyring: entry", [".keyring: must be `service/name`"]),
        ("kind: bearer, keyring: a/b", []),
        (
            "kind: bearer, keyring: a/b, env: A",
            [": a bearer needs exactly one of `env`, `file` and `keyring`"],
        ),
    ],
)
def test_the_keys_of_an_auth_are_checked(auth: str, problems: list[str]) -> None:
    assert _problems(auth) == problems


@pytest.mark.parametrize(
    "url", ["http://a.example/t", "http://127.0.0.1.a.example/", "ftp://127.0.0.1/", "x", "https://"]
)
def test_tokens_leave_this_machine_only_over_tls(url: str) -> None:
    assert _problems(f"kind: oauth, token_url: '{url}', client_id: me") == [
        ".token_url: must be an https address"
    ]


def test_a_subscription_has_a_server_of_its_own_that_a_config_may_replace() -> None:
    assert _problems("kind: oauth", "openai_codex") == []
    text = "providers:\n  p: {api_kind: openai_codex, auth: {kind: oauth, client_id: mine}}\n"
    auth = read_auths(parse_yaml(text, "f"))["p"]
    assert (auth["client_id"], auth["device_flow"]) == ("mine", "chatgpt")
    assert auth["token_url"] == "https://auth.openai.com/oauth/token"
    assert auth["store"] == "~/.llm-policy/tokens.json"

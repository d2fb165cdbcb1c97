"""The gateway as an ASGI application: the skins by a table, everything else by Starlette."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from llm_policy_host.errors import LedgerError

from .body import parse_record, read_body, write_json
from .errors import Problem, RefusedError, unrecorded
from .gateway import asked_of
from .metrics import CONTENT_TYPE
from .openapi import document
from .skin import Asked
from .skins.chat import Chat, openai_error
from .skins.completions import Completions
from .skins.counting import ESTIMATED, count_tokens
from .skins.embeddings import Embeddings
from .skins.messages import Messages, anthropic_error
from .skins.models import find_model, list_models
from .skins.responses import Responses
from .usage import usage
from .x import HELPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from .gateway import Gateway, Receive, Scope, Send
    from .skin import Caller, Skin
    from .x import Helper

_log = logging.getLogger("llm_policy.gateway")

SKINS: tuple[Skin, ...] = (Chat(), Responses(), Messages(), Completions(), Embeddings())
"""Every API that takes a POST below `/v1`."""


class App:
    """Finds who answers. A path of a skin is looked up; one below a profile has its name in front."""

    def __init__(
        self,
        gateway: Gateway,
        close: Callable[[], Awaitable[None]],
        prepare: Callable[[], Awaitable[object]],
    ) -> None:
        self.gateway = gateway
        self._close = close
        self._prepare = prepare
        self._skins: Mapping[str, Skin] = {f"/v1{skin.path}": skin for skin in SKINS}
        self._rest = Starlette(
            routes=_Rest(gateway).routes(),
            exception_handlers={HTTPException: _unserved, Exception: _defect},
        )
        self._rest.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, as ASGI wants it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever could be said was; its text may quote what must not be logged
            _log.error("a request failed: %s", type(error).__name__)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        skin, profile = self._find(scope["path"])
        if skin is not None and scope["method"] == "POST":
            await self.gateway.serve(skin, profile, scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def _find(self, path: str) -> tuple[Skin | None, str | None]:
        skin = self._skins.get(path)
        if skin is not None:
            return skin, None
        profile, slash, below = path[1:].partition("/")
        skin = self._skins.get(slash + below)
        return (skin, profile) if skin is not None else (None, None)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await self._prepare()
            await send({"type": "lifespan.startup.complete"})


Answer = tuple[int, dict[str, Any]]
Handler = Callable[["Request", "Caller | None"], Awaitable[Answer]]


class _Rest:
    """What is not on the hot path; each answers for a caller whose key was looked at."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Give the table of paths; those of the skins say here only that they take a POST."""
        bases = ("/v1", "/{profile}/v1")
        skins = [f"{base}{skin.path}" for base in bases for skin in SKINS]
        return [
            *(Route(path, _unreached, methods=["POST"]) for path in skins),
            Route("/v1/models", self._checked(self._models)),
            Route("/v1/models/{name:path}", self._checked(self._model)),
            Route("/{profile}/v1/models", self._checked(self._models)),
            Route("/{profile}/v1/models/{name:path}", self._checked(self._model)),
            Route("/v1/usage", self._checked(self._usage)),
            Route("/{profile}/v1/usage", self._checked(self._usage)),
            Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
            Route("/{profile}/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
            *(
                Route(path, self._helped(helper, method), methods=[method])
                for method, path, helper in HELPERS
            ),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._document),
        ]

    def _checked(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                caller = await self._gateway.caller(dict(request.scope["headers"]))
                status, body = await handler(request, caller)
            except RefusedError as refused:
                return _refusal(refused.problem)
            except LedgerError as error:
                return _refusal(unrecorded(error))
            return _json(status, body)

        return answer

    def _helped(self, helper: Helper, method: str) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request, caller: Caller | None) -> Answer:
            gateway, headers = self._gateway, dict(request.scope["headers"])
            parts, body = gateway.parts, {}
            if method == "POST":
                data = await read_body(headers, request.receive, parts.limits.max_body_bytes)
                body = parse_record(data or b"{}")
            known = Asked(gateway.new_id(), parts.clock.now_ms() // 1000)
            asked = asked_of(body, known, caller, headers, parts)
            return 200, await helper(gateway, body, asked, **request.path_params)

        return self._checked(handle)

    async def _models(self, _request: Request, caller: Caller | None) -> Answer:
        return 200, list_models(self._gateway.parts.current(), caller)

    async def _model(self, request: Request, caller: Caller | None) -> Answer:
        name = request.path_params["name"]
        found = find_model(self._gateway.parts.current(), caller, name)
        if found is None:
            raise RefusedError(404, "model_not_found", f"no model `{name[:256]}`", "model")
        return 200, found

    async def _usage(self, request: Request, caller: Caller | None) -> Answer:
        parts = self._gateway.parts
        return 200, await usage(parts.till, caller, request.query_params, parts.clock)

    async def _count_tokens(self, request: Request) -> Response:
        headers, parts = dict(request.scope["headers"]), self._gateway.parts
        try:
            await self._gateway.caller(headers)
            data = await read_body(headers, request.receive, parts.limits.max_body_bytes)
            response = _json(200, count_tokens(parse_record(data)))
        except RefusedError as refused:
            return _refusal(refused.problem, anthropic_error)
        except LedgerError as error:
            return _refusal(unrecorded(error), anthropic_error)
        response.headers.update(ESTIMATED)
        return response

    async def _healthz(self, _request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        if self._gateway.is_draining:
            return _json(503, {"status": "draining"})
        return _json(200, {"status": "ready"})

    async def _metrics(self, _request: Request) -> Response:
        return Response(self._gateway.parts.metrics.text(), media_type=CONTENT_TYPE)

    async def _document(self, _request: Request) -> Response:
        return _json(200, document())


async def _unreached(_request: Request) -> Response:
    raise HTTPException(404)


async def _unserved(_request: Request, error: Exception) -> Response:
    """Answer for a path or a method that nobody serves."""
    allowed = (getattr(error, "headers", None) or {}).get("Allow")
    if allowed is None:
        return _refusal(Problem(404, "unknown_path", "nothing is served at this path"))
    response = _refusal(Problem(405, "method_not_allowed", f"this path takes {allowed}"))
    response.headers["allow"] = allowed
    return response


async def _defect(_request: Request, _error: Exception) -> Response:
    return _refusal(Problem(500, "internal_error", "the gateway failed"))


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(write_json(body), status, media_type="application/json")


def _refusal(problem: Problem, worded: Callable[[Problem], dict[str, Any]] = openai_error) -> Response:
    response = _json(problem.status, worded(problem))
    if problem.retry_after_s is not None:
        response.headers["retry-after"] = str(problem.retry_after_s)
    return response

"""How much a client may ask, and the layer that reads a body no further than that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from protscribe.errors import ConfigError
from protscribe.serving.problems import problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """``max_residues`` of a chain, ``max_proteins`` and ``max_body_bytes`` of a request, and the ``seconds`` after which a
    request is given up, be it at reading or at waiting for answers."""

    max_residues: int = 2000
    max_proteins: int = 64
    max_body_bytes: int = 1 << 20
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_residues", "max_proteins", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError("config.value", f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not self.seconds > 0:
            raise ConfigError("config.value", f"seconds must be above 0, got {self.seconds!r}")


class BodyLimit:
    """Reads the body of a request before anything else sees it: 413 as soon as it is too long, 408 where it comes too slowly.

    What its header says of its length is believed only where that is too much already.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._limits.max_body_bytes
        if _declared(scope) > most:
            await _too_large(most)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await _read(receive, most)
        except TimeoutError:
            told = f"the body did not arrive within {self._limits.seconds:g} s"
            await problem(408, "request.slow", told)(scope, receive, send)
            return
        except _TooLarge:
            await _too_large(most)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)


class _TooLarge(Exception):
    pass


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])
    return 0


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body; ``None`` where the client left in the middle of it."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _TooLarge
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body in one piece, then what comes after it."""
    given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_large(most: int) -> App:
    told = f"the body has more than {most} bytes (max_body_bytes); send fewer proteins at once"
    return problem(413, "request.too_large", told, headers={"connection": "close"})

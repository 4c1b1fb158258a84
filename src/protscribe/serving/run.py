"""What ``protscribe serve`` calls: loads a bundle, listens, and ends when it is asked to, after what waits is answered."""

from __future__ import annotations

import ipaddress
import logging
import math
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from protscribe.errors import ConfigError

log = logging.getLogger("protscribe.serving")


def serve(
    bundle: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    max_wait_ms: float = 5.0,
    max_batch: int = 64,
    batch_residues: int | None = None,
    max_queue: int = 1024,
    max_proteins: int = 64,
    max_residues: int = 2000,
    max_body_bytes: int = 1 << 20,
    seconds: float = 60.0,
    draws: int = 16,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    compile: bool = False,
    revision: str | None = None,
    local_files_only: bool = False,
) -> None:
    """Serves a bundle over HTTP until SIGTERM or SIGINT.

    Parameters
    ----------
    bundle, device, precision, compile, revision, local_files_only: as :meth:`protscribe.predictor.Predictor.load` takes them.
    host, port: where to listen; port 0 is any that is free. There is no authentication: beyond this machine put a proxy before
        it that knows who may ask.
    max_wait_ms, max_batch, max_queue: see :class:`protscribe.serving.batching.Batching`; ``batch_residues`` likewise, ``None``
        is what suits the device.
    max_proteins, max_residues, max_body_bytes, seconds: see :class:`protscribe.serving.limits.Limits`.
    draws, seed: as :func:`protscribe.outputs.predict_file` takes them.

    Raises :class:`~protscribe.errors.ConfigError` ``config.extra`` (the extra ``serve`` is not installed), ``config.value``,
    ``serve.address`` (nothing can listen there), and what loading the bundle raises.
    """
    _check_installed()
    from protscribe.generation.answering import Asking
    from protscribe.predictor import ON_CPU, ON_GPU, Predictor
    from protscribe.serving.app import create_app
    from protscribe.serving.batching import Batching
    from protscribe.serving.limits import Limits

    limits = Limits(max_residues, max_proteins, max_body_bytes, seconds)
    batching = Batching(
        max_wait_ms, max_batch, ON_CPU if batch_residues is None else batch_residues, max_queue
    )
    _check_room(max_queue, max_proteins)
    with _bound(host, port) as listener:
        predictor = Predictor.load(
            bundle, device, revision=revision, local_files_only=local_files_only,
            asking=Asking(draws=draws, seed=seed), precision=precision, compile=compile,
        )  # fmt: skip
        if batch_residues is None and predictor.device.type != "cpu":
            batching = replace(batching, batch_residues=ON_GPU)
        app = create_app(predictor, bundle, batching=batching, limits=limits)
        _warn_of_strangers(host)
        with _signals_end_quietly():
            server = _server(app, bundle, listener, seconds)
            server.run(sockets=[listener])
    if server.force_exit:
        log.warning("ended at once, as it was asked to twice; some requests may have no answer")
    else:
        log.info("ended; every request that was taken has been answered")


def _check_installed() -> None:
    try:
        import uvicorn  # noqa: F401

        from protscribe.serving import app  # noqa: F401
    except ImportError as error:
        message = f"serving needs {error.name}: pip install 'protscribe[serve]'"
        raise ConfigError("config.extra", message) from None


def _server(app: Any, bundle: str, listener: socket.socket, seconds: float) -> Any:
    """A server that says where it listens; on its way out it waits for requests as long as each may take."""
    import uvicorn

    class Told(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            log.info("%s is served at http://%s:%d/  (Ctrl-C or SIGTERM ends it)", bundle, shown, port)

    patience = math.ceil(seconds) + 5
    config = uvicorn.Config(
        app, log_config=None, access_log=False, proxy_headers=False, server_header=False, lifespan="on",
        timeout_graceful_shutdown=patience,
    )  # fmt: skip
    return Told(config)


def _check_room(max_queue: int, max_proteins: int) -> None:
    if max_queue < max_proteins:
        message = f"max_queue={max_queue} is less than max_proteins={max_proteins}: such a request would never be taken"
        raise ConfigError("config.value", message)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address, taken before the model is loaded, so that an address in use is said at once."""
    if not 0 <= port <= 65_535:
        raise ConfigError("config.value", f"port must be 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, port, error) from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise _no_address(host, port, error) from None
        yield listener


def _no_address(host: str, port: int, error: Exception) -> ConfigError:
    message = (
        f"cannot listen at {host}, port {port}: {error}; choose another port=, or port=0 for any that is free"
    )
    return ConfigError("serve.address", message)


def _warn_of_strangers(host: str) -> None:
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        log.warning(
            "host=%s: whoever reaches this address can use the server, and sees it without encryption; there is no "
            "authentication. Put a proxy before it that knows who may ask, or leave host=127.0.0.1",
            host,
        )


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """The server raises once more, when it has ended, the signal that ended it: as ended well as can be, that is no failure."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

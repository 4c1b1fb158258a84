"""One small server for all files here: a random-weight bundle with every kind of answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from protscribe.generation.answering import Asking
from protscribe.predictor import Predictor
from tests.small import TASKS, make_bundle


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor(make_bundle(TASKS), "cpu", Asking(draws=4))


def application(predictor: Predictor) -> Any:
    """The application of that predictor, with limits that a test can reach."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        pytest.importorskip(package, reason="needs protscribe[serve], and httpx for its client")
    from protscribe.serving.app import create_app
    from protscribe.serving.batching import Batching
    from protscribe.serving.limits import Limits

    return create_app(
        predictor,
        "small <b>bundle</b>",
        batching=Batching(max_wait_ms=20.0, max_batch=8, max_queue=64),
        limits=Limits(max_residues=90, max_proteins=6, max_body_bytes=4000, seconds=30.0),
    )


@pytest.fixture(scope="session")
def client(predictor: Predictor) -> Iterator[Any]:
    """A client of the application, which runs from its start to its end."""
    app = application(predictor)
    from fastapi.testclient import TestClient

    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def address(predictor: Predictor) -> Iterator[str]:
    """Where a server of that application listens, in a thread of this process."""
    app = application(predictor)
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(30)

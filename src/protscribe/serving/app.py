"""The application: paths, and what stands behind each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

import protscribe
from protscribe.errors import ProtscribeError
from protscribe.inspection import choices_of
from protscribe.records import Failure, Prediction
from protscribe.serving import schemas
from protscribe.serving.batching import Batcher, Batching, Busy
from protscribe.serving.limits import BodyLimit, Limits
from protscribe.serving.metrics import Metrics
from protscribe.serving.problems import bug, handle_problems, problem
from protscribe.serving.questions import Read, read_request, response_text
from protscribe.serving.warming import warm_up
from protscribe.serving.watching import Watched
from protscribe.task import Task

if TYPE_CHECKING:
    from protscribe.predictor import Predictor

MOST_LABELS = 64
WRONG: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.Problem, "description": "A task that the bundle does not have."},
    408: {"model": schemas.Problem, "description": "The body came too slowly."},
    413: {"model": schemas.Problem, "description": "The body is too long."},
    422: {"model": schemas.Problem, "description": "The request is wrong, or nothing of it can be answered."},
    500: {"model": schemas.Problem, "description": "A mistake of the server's."},
    503: {
        "model": schemas.Problem,
        "description": "Too much waits already, or it took too long: ask again later.",
        "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    },
}


def create_app(
    predictor: Predictor,
    bundle: str = "bundle",
    *,
    batching: Batching | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """The ASGI application of a predictor; its thread starts and ends with the application's lifespan.

    ``bundle`` is what the page and ``/tasks`` call it.
    """
    metrics = Metrics()
    batcher = Batcher(predictor, batching or Batching(), metrics.batch)
    metrics.watch(batcher)
    served = Served(predictor, bundle, batcher, limits or Limits(), metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        await asyncio.to_thread(warm_up, batcher, predictor.tasks, served.limits.max_residues)
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="Protscribe",
        version=protscribe.__version__,
        description="Answers of one bundle's tasks about proteins. Without authentication: keep it on your machine.",
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    handle_problems(app)
    _add_answers(app, served)
    _add_page(app)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(BodyLimit, limits=served.limits)
    app.add_middleware(Watched, metrics=metrics, paths=paths)
    return app


class Served:
    """What the paths share."""

    def __init__(
        self, predictor: Predictor, bundle: str, batcher: Batcher, limits: Limits, metrics: Metrics
    ) -> None:
        self.predictor, self.bundle, self.batcher = predictor, bundle, batcher
        self.limits, self.metrics = limits, metrics
        trust = predictor.bundle.trust
        self.tasks = schemas.Tasks(
            bundle=bundle,
            tasks=[_task_info(task, predictor, trust.get(name)) for name, task in predictor.tasks.items()],
            max_residues=limits.max_residues,
            max_proteins=limits.max_proteins,
            encoder_limit=predictor.limit,
        )

    async def predict(self, wanted: schemas.PredictRequest, request: Request) -> Response:
        read = read_request(wanted, self.predictor.tasks, self.limits)
        try:
            outcomes = await self._outcomes(read, request)
        except TimeoutError:
            message = (
                f"no answer within {self.limits.seconds:g} s; ask about fewer or shorter proteins, or later"
            )
            raise Busy(message, 5.0, "server.time_limit") from None
        except ProtscribeError:
            raise
        except Exception:
            return bug()  # the batcher has logged it
        if outcomes is None:
            return Response(status_code=499)
        found = [one for outcome in outcomes for one in outcome]
        predictions = [one for one in found if isinstance(one, Prediction)]
        failures = [*read.failures, *(one for one in found if isinstance(one, Failure))]
        failures.sort(key=lambda failure: failure.ordinal)
        self.metrics.told(predictions, failures)
        told = request.scope["state"]["told"]
        told["predict"] = (
            f"proteins {len(read.records)}, answers {len(predictions)}, failures {len(failures)}"
        )
        if failures and not predictions:
            return _all_failed(failures)
        text = response_text(read.records, predictions, failures)
        return Response(text.encode("utf-8"), media_type="application/json")

    async def _outcomes(self, read: Read, request: Request) -> Sequence[Sequence[Any]] | None:
        """What the batcher answers; ``None`` where the client left, whose proteins then leave the queue."""
        answered = asyncio.wrap_future(self.batcher.submit(read.records, read.asked))
        left = asyncio.ensure_future(_left(request))
        try:
            done, _ = await asyncio.wait(
                (answered, left), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answered in done:
                return answered.result()
            if left in done:
                return None
            raise TimeoutError
        finally:
            left.cancel()
            answered.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _all_failed(failures: Sequence[Failure]) -> Response:
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    status = 500 if first.code == "predict.not_finite" else 503 if first.code == "device.oom" else 422
    where = {"record": first.id, "row": first.ordinal + 1}
    return problem(status, first.code, f"{first.detail}{more}", where, failures=failures)


def _task_info(task: Task, predictor: Predictor, trust: Any) -> schemas.TaskInfo:
    codec: Any = task.codec
    readout = predictor.bundle.readouts[task.name]
    labels = list(getattr(codec, "labels", ()))
    conformal = getattr(trust, "conformal", None)
    return schemas.TaskInfo(
        name=task.name,
        title=task.title,
        description=task.description,
        reference=task.reference,
        kind=codec.kind,
        choices=choices_of(task),
        labels=labels if len(labels) <= MOST_LABELS else [],
        unit=getattr(codec, "unit", None) or None,
        low=getattr(codec, "low", None),
        high=getattr(codec, "high", None),
        chains=task.chains,
        molecule=task.molecule,
        fields=[
            schemas.FieldInfo(field=one.field, values=list(one.values), required=one.required)
            for one in task.conditions
        ],
        readout=readout.way,
        threshold=readout.threshold,
        calibrated=getattr(trust, "calibration", None) is not None,
        coverage=None if conformal is None else conformal.levels[-1],
    )


def _add_answers(app: FastAPI, served: Served) -> None:
    @app.post(
        "/predict", response_model=schemas.PredictResponse, responses=WRONG, summary="Ask about proteins"
    )
    async def predict(wanted: schemas.PredictRequest, request: Request) -> Response:
        return await served.predict(wanted, request)

    @app.get("/tasks", summary="What can be asked")
    async def tasks() -> schemas.Tasks:
        return served.tasks

    unwell: dict[int | str, dict[str, Any]] = {503: {"model": schemas.Health, "description": "It is not so."}}

    def health(well: bool) -> Response:
        batcher = served.batcher
        told = schemas.Health(
            live=batcher.alive, ready=batcher.ready, bundle=served.bundle, waiting=batcher.waiting
        )
        return Response(
            told.model_dump_json(), status_code=200 if well else 503, media_type="application/json"
        )

    @app.get(
        "/health", response_model=schemas.Health, responses=unwell, summary="Whether it lives and is ready"
    )
    @app.get(
        "/health/ready", response_model=schemas.Health, responses=unwell, summary="Whether it takes requests"
    )
    async def ready() -> Response:
        return health(served.batcher.ready)

    @app.get("/health/live", response_model=schemas.Health, responses=unwell, summary="Whether it can answer")
    async def live() -> Response:
        return health(served.batcher.alive)

    @app.get("/metrics", response_class=PlainTextResponse, summary="Counters for Prometheus")
    async def metrics() -> Response:
        return PlainTextResponse(served.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    """The page and its two parts, which know their paths relative to it: a proxy may put it anywhere."""
    parts = {
        "/": ("page.html", "text/html"), "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript"),
    }  # fmt: skip
    for path, (name, kind) in parts.items():
        body = resources.files(__package__).joinpath(name).read_bytes()

        def part(body: bytes = body, kind: str = kind) -> Response:
            return Response(body, media_type=f"{kind}; charset=utf-8")

        app.add_api_route(path, part, include_in_schema=False, response_class=HTMLResponse)

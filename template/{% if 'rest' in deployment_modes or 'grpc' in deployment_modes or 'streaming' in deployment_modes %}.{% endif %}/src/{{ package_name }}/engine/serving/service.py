"""What every running service is: the model in use, its turns of scoring, what is remembered."""

import asyncio
import datetime as dt
import itertools
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from .. import storage
from ..errors import ProjectError
from ..model import registry
from ..model.history import STATE
from ..model.scorer import Recounted
from ..settings import Project
from ..threads import workers
from .refusal import Refused, out_of_use, refused, too_busy
from .requests import TIMES, Model, Rows
from .telemetry import Done, Telemetry

Found = TypeVar("Found")
TICK_SECONDS = 1.0  # between looks at the registry, and between writes of the log
DRAIN_SECONDS = 30
WAITING_REQUESTS = 20  # of `max_rows` rows: beyond what waits for scoring, requests are refused
SMALL_ROWS = 64  # larger requests are scored beside the event loop, so that small ones can pass
REQUEST_ID = re.compile(rb"[\w.:+/=@-]{1,128}")

log = logging.getLogger("serving")


class Turn:
    """Scores in one call what arrives in one turn of the event loop: calls cost as much as rows."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Model, Rows, asyncio.Future[Rows], list[int] | None]] = []

    def predict(self, model: Model, rows: Rows) -> asyncio.Future[Rows]:
        """Score rows at the end of this turn."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self._end)
        future: asyncio.Future[Rows] = loop.create_future()
        self.waiting.append((model, rows, future, TIMES.get()))
        return future

    def _end(self) -> None:
        waiting, self.waiting = self.waiting, []
        for model, group in itertools.groupby(waiting, lambda call: call[0]):
            calls = [call[1:] for call in group if not call[2].cancelled()]
            times: list[int] | None = [] if any(told is not None for *_, told in calls) else None
            try:
                found = iter(model.predict([row for rows, *_ in calls for row in rows], times))
                for rows, future, told in calls:
                    if told is not None:
                        told.extend(times or ())
                    future.set_result(list(itertools.islice(found, len(rows))))
            except Exception:  # a row that breaks scoring must not fail its neighbours
                for rows, future, _ in calls:
                    try:
                        future.set_result(model.predict(rows))
                    except Exception as error:
                        future.set_exception(error)


class Service:
    """A running service: the model in use, and what is remembered of its answers."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.limits = project.config.serving
        folder = project.path("data/predictions") if self.limits.log_predictions else None
        self.registry = project.path("models/registry.json")
        self.seen = storage.stamp(self.registry)
        model = self.load(registry.champion_folder(project))
        self.telemetry = Telemetry(self.latency_s(), folder, model.scorer.outputs)
        self.turn = Turn()
        self.pool = ThreadPoolExecutor(workers(project.config.training.threads))
        self.waiting_rows = 0  # for the pool
        self.ready = Ready()
        self.ids = map(f"{os.urandom(6).hex()}-{{:x}}".format, itertools.count())
        self.problem: str | None = None
        self.is_retired = False
        self._use(model)

    def load(self, folder: Path) -> Model:
        """Open a bundle; ProjectError when it cannot be served."""
        return Model(folder)

    def latency_s(self) -> float:
        """Return within how many seconds the plan wants an answer."""
        return self.project.facts.latency_ms / 1000

    def _use(self, model: Model) -> None:
        self.model = model
        self.telemetry.model.clear()
        self.telemetry.model.labels(model.scorer.version).set(1)
        origin = model.scorer.state.origin if model.scorer.state else None
        limit = self.project.config.monitoring.max_state_days
        self.telemetry.follow(model.scorer.version, origin, limit)

    def reload(self) -> None:
        """Follow registry and state, again and again while the champion cannot be loaded."""
        state = storage.stamp(self.registry)
        is_renewed = storage.stamp(self.model.folder / STATE) != self.model.state_seen
        if state == self.seen and not is_renewed and self.problem is None:
            return
        problem, self.is_retired = None, False
        try:
            folder = registry.champion_folder(self.project)
            if folder != self.model.folder or is_renewed:
                model = self.load(folder)
                if model.scorer.outputs != self.model.scorer.outputs:
                    raise ProjectError(f"{folder.name} has other outputs: start the service again")
                self._use(model)
                log.info("now serving %s", self.model.scorer.version)
        except registry.Retired as error:
            problem, self.is_retired = str(error), True
            if problem != self.problem:
                log.error("refusing every request: %s", problem)
        except Exception as error:  # whatever it is, the old model goes on serving
            problem = str(error) if isinstance(error, ProjectError) else where(error)
            if problem != self.problem:
                log.error("still serving %s: %s", self.model.scorer.version, problem)
        self.seen, self.problem = state, problem
        self.telemetry.reload_failed.set(problem is not None)

    async def tick(self) -> None:
        """Write the log and follow the registry, again and again."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await asyncio.to_thread(self.telemetry.write, self.telemetry.take())
            await asyncio.to_thread(self.reload)

    def check_room(self) -> None:
        """Refuse a request, before it is read, of a retired model or when too many rows wait."""
        if self.is_retired:
            raise out_of_use()
        if self.waiting_rows > WAITING_REQUESTS * self.limits.max_rows:
            raise too_busy()

    async def predict(self, model: Model, rows: Rows) -> Rows:
        """Score rows: few of them in this turn; many, or with a history, beside the event loop."""
        if len(rows) <= SMALL_ROWS and not isinstance(rows, Recounted):
            return await self.turn.predict(model, rows)
        return await self.beside(len(rows), partial(model.predict, rows, TIMES.get()))

    async def beside(self, rows: int, work: Callable[[], Found]) -> Found:
        """Do work beside the event loop, which counts as so many rows that wait."""
        self.waiting_rows += rows
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, work)
        finally:
            self.waiting_rows -= rows

    def failure(self, request_id: str, error: Exception) -> Refused:
        """Log what broke in scoring; return what the caller is told."""
        log.error("request %s: %s", request_id, where(error))
        return refused(500, "scoring failed", "use your fallback, and report the request id")

    def note(
        self,
        model: Model,
        start: float,
        status: int,
        request_id: str,
        rows: Rows,
        predictions: Rows,
        traces: Sequence[str] | None = None,
    ) -> None:
        """Note an answer to a request that began at `start` of time.perf_counter.

        `traces` are those of its rows, where they came from several callers.
        """
        seconds, now = time.perf_counter() - start, dt.datetime.now(dt.UTC)
        version, columns = model.scorer.version, model.scorer.sent
        trace = self.trace_id if traces is None else traces
        self.telemetry.add(
            Done(now, seconds, status, request_id, version, columns, rows, predictions, trace)
        )

    @property
    def trace_id(self) -> str:
        """The trace that the request at hand belongs to; "" where nobody follows any."""
        return ""

    def close(self) -> None:
        """Write what is not yet written."""
        self.telemetry.write(self.telemetry.take())


class Ready:
    """Whether the model in use repeats its golden rows, looked at once a second at most."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.model: Model | None = None
        self.until = 0.0
        self.problem: str | None = None

    async def problem_of(self, model: Model) -> str | None:
        """Return what is wrong with the answers of a model, None when nothing is."""
        async with self.lock:
            if model is not self.model or time.monotonic() >= self.until:
                self.problem = await asyncio.to_thread(self._replay, model)
                self.model, self.until = model, time.monotonic() + TICK_SECONDS
            return self.problem

    @staticmethod
    def _replay(model: Model) -> str | None:
        try:
            model.scorer.replay(model.golden)
        except Exception as error:  # not ready, whatever the reason
            return f"golden rows fail: {type(error).__name__}"
        return None


def where(error: BaseException) -> str:
    """Say what broke and where, but not the message: it may repeat values of the request."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


class _JsonLines(logging.Formatter):
    """One JSON object per record; of an exception only its kind and place."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        entry = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "error": where(error) if error else None,
        }
        return msgspec.json.encode(entry).decode()


def log_lines() -> None:
    """Log as JSON lines on stderr, which hold no data of requests."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.simplefilter("default")  # which `ml` keeps from people
    logging.captureWarnings(True)


def cannot_listen(host: str, port: int, reason: object) -> ProjectError:
    """Say why nobody can be served there."""
    return ProjectError(f"cannot listen on {host}:{port}: {reason}; see --host, --port")

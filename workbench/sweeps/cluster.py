"""Points side by side on Dask: on this machine's cores, or on the workers of a scheduler.

A point is a process of its own wherever it runs; a worker's thread only waits for it.
"""

import contextlib
import functools
import logging
import os
import queue
import re
import uuid
from collections.abc import Iterator, Sequence

from workbench import places
from workbench.errors import ServiceError, WorkbenchError
from workbench.sweeps.execute import Request, end, execute
from workbench.sweeps.identity import code

_CONNECT_S = 10
_ADDRESS = re.compile(r"tcp://[^/\s]+:\d{1,5}")
_LOOK_S = 1.0  # how often it is looked whether the scheduler is still there


def side_by_side(requests: Sequence[Request], scheduler: str | None = None) -> Iterator[tuple[Request, bytes]]:
    """Each request and what ``execute`` gave for it, as they are done. Closing the iterator ends the points under way.

    ``scheduler`` is an address such as tcp://10.0.0.1:8786; None: a cluster in this process, which listens on no port.

    Raises:
        ServiceError: the scheduler does not answer or went away, has no workers, or a worker has other code.
    """
    if not requests:
        return
    with _quiet(), _client(scheduler) as client:
        _check_code(client, scheduler, requests[0])
        yield from _results(client, scheduler, requests)


def _results(client, scheduler: str | None, requests: Sequence[Request]) -> Iterator[tuple[Request, bytes]]:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    gone = f"the Dask scheduler at {scheduler} or all its workers are gone"
    done = queue.SimpleQueue()  # not as_completed, which waits for ever where all workers are gone
    waiting = {}
    try:
        for request in requests:
            future = client.submit(_execute, request, key=f"{request.file}-{uuid.uuid4().hex}", pure=False)
            waiting[future] = request
            future.add_done_callback(done.put)
        while waiting:
            try:
                future = done.get(timeout=_LOOK_S)
            except queue.Empty:
                future = None
            if future is not None:
                data = future.result()
                yield waiting.pop(future), data
            elif client.status != "running" or not client.scheduler_info(n_workers=0)["n_workers"]:  # a total: always there
                raise ServiceError(gone)
    except (FutureCancelledError, KilledWorker, OSError):
        raise ServiceError(gone) from None
    finally:
        # However this ends, nothing of this sweep runs on. A worker's thread cannot be ended, but the process that it awaits can.
        if scheduler is None:
            end(requests[0].sweep)
        elif client.status == "running" and waiting:
            with contextlib.suppress(Exception):  # the scheduler may be what is gone
                client.cancel(list(waiting), force=True)
                client.run(end, requests[0].sweep)


def _execute(request: Request) -> bytes:
    from distributed import get_worker

    try:
        return execute(request)
    except WorkbenchError as error:
        raise ServiceError(f"worker {get_worker().address}: {error}") from None


@contextlib.contextmanager
def _client(scheduler: str | None):
    from distributed import Client

    if scheduler is not None and not _ADDRESS.fullmatch(scheduler):  # Dask's client would ask it for ever, and say so at its end
        raise ServiceError(f"{scheduler!r} is no address of a Dask scheduler, such as tcp://10.0.0.1:8786")
    with contextlib.ExitStack() as opened:
        try:
            where = opened.enter_context(_local_cluster()) if scheduler is None else scheduler
            client = opened.enter_context(Client(where, timeout=_CONNECT_S, set_as_default=False))
        except OSError:
            raise ServiceError(f"no Dask scheduler answered at {scheduler} within {_CONNECT_S} s") from None
        except Exception as error:  # Dask has no error of its own for an address: ValueError, TypeError, AssertionError …
            raise ServiceError(f"the Dask scheduler at {scheduler} cannot be used: {_first_line(error)}") from None
        yield client


def _local_cluster():
    """What ``LocalCluster(processes=False)`` makes, without the two HTTP servers that it opens to all interfaces."""
    from distributed import Scheduler, SpecCluster, Worker

    class Portless:
        def start_http_server(self, *_: object, **__: object) -> None:
            pass

    scheduler = type("PortlessScheduler", (Portless, Scheduler), {})
    worker = type("PortlessWorker", (Portless, Worker), {})
    options = {
        "protocol": "inproc://",
        "nthreads": os.cpu_count(),
        "memory_limit": 0,  # else this process' memory, a notebook's, would make the worker pause
        "local_directory": str(places.state() / "dask"),
    }
    return SpecCluster(
        scheduler={"cls": scheduler, "options": {"protocol": "inproc://", "dashboard": False}},
        workers={0: {"cls": worker, "options": options}},
    )


def _check_code(client, scheduler: str | None, request: Request) -> None:
    if scheduler is None:
        return
    try:
        digests = client.run(code, request.function)
    except WorkbenchError as error:
        raise ServiceError(f"a worker of {scheduler} cannot import the task: {error}") from None
    except Exception as error:  # whatever a worker raises that cannot import this package
        raise ServiceError(f"a worker of {scheduler} has no such workbench: {_first_line(error)}") from None
    if not digests:
        raise ServiceError(f"the scheduler at {scheduler} has no workers: start some with `dask worker {scheduler}`")
    for worker, digest in digests.items():
        if digest != request.code:
            raise ServiceError(f"worker {worker} has code {digest}, here it is {request.code}: both must be the same")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask tells of every connection that ends; here an error says it once, in one line."""
    import distributed  # noqa: F401 (sets its loggers up at import)

    drop = functools.partial(_below, logging.CRITICAL)
    loggers = [
        logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.partition(".")[0] == "distributed"
    ]
    handlers = {handler for logger in loggers for handler in logger.handlers}  # of the loggers yet to be made, too
    for handler in handlers:
        handler.addFilter(drop)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(drop)


def _below(level: int, record: logging.LogRecord) -> bool:
    return record.levelno >= level


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Sweeps: many settings, each measured several times in fresh processes, one file a point.

::

    runs = sweep((base.but(batch_size=size) for size in (1, 10, 100)), name="batch-size")
    frame = results.load(runs)

A sweep that was interrupted, by Ctrl-C or by ``kill -9``, goes on where it was when it is started again.
"""

import contextlib
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workbench import places, tasks
from workbench.errors import ResultError, ServiceError, SettingError
from workbench.progress import progress
from workbench.results import PUBLISHED, Sweep, save, write_manifest
from workbench.servers import services
from workbench.settings import Settings
from workbench.sweeps import folder as folders
from workbench.sweeps import identity
from workbench.sweeps.execute import Request, execute


def sweep(
    settings: Iterable[Settings],
    *,
    name: str,
    task: str = "pipeline",
    repeats: int = PUBLISHED,
    cloud: str = "embedded",
    scheduler: str | None = None,
    folder: Path | None = None,
    fresh: bool = False,
    timeout_s: float = 900.0,
) -> Sweep:
    """Measure every one of ``settings`` ``repeats`` times, and keep each result as soon as it is there.

    Runs are interleaved: all settings once, in shuffled order, then all again. Run r has the settings' seed + r. Each point is
    a process of its own. Tasks that neighbours would disturb run one after another, with the cloud's servers up from the first
    to the last; others side by side, on this machine or on a Dask ``scheduler``'s workers.

    What has a result of the same task, cloud and code is not measured again. A point that fails, dies or takes longer than
    ``timeout_s`` is a result too, with ``error`` set; what it printed is in ``logs/points`` of the state folder.

    Args:
        name: of the sweep, and of its folder under ``places.results()`` unless ``folder`` is given.
        task: one of ``tasks.TASKS``, or a function of one's own as "module:function".
        scheduler: as in tcp://10.0.0.1:8786; only for tasks that may have neighbours.
        fresh: set results that are there aside, under the folder's name and the time, and measure everything.

    Raises:
        SettingError: no settings or two equal ones, or an argument that is not allowed.
        ResultError: the folder is in use, a result in it is damaged, or one cannot be saved.
        ServiceError: the servers or the scheduler cannot be reached, or the code changed meanwhile.
    """
    listed, what = identity.distinct(settings), tasks.task(task)
    _check(name=name, repeats=repeats, scheduler=scheduler, timeout_s=timeout_s, alone=what.alone)
    place = (folder or places.results() / name).absolute()
    code = identity.code(what.function)
    points = identity.points(listed, repeats, identity.context(task, cloud, code))
    made = Sweep(folder=place, name=name, task=task, cloud=cloud, repeats=repeats, points=points)
    with folders.locked(place):
        if fresh:
            folders.set_aside(place)
        there = folders.measured(place, points)
        write_manifest(made)
        if there:
            print(f"{name}: {len(there)} of {len(points)} points were measured before", file=sys.stderr)
        asking = uuid.uuid4().hex
        requests = [
            Request(
                sweep=asking,
                file=point.file,
                task=task,
                function=what.function,
                code=code,
                settings=point.settings,
                run=point.run,
                cloud=cloud,
                timeout_s=timeout_s,
            )
            for point in points
            if point.file not in there
        ]
        _measure(requests, made, what, scheduler)
    return made


def _measure(requests: Sequence[Request], made: Sweep, task: tasks.Task, scheduler: str | None) -> None:
    total = len(made.points)
    saved = total - len(requests)
    with contextlib.ExitStack() as opened:
        bar = opened.enter_context(progress(total, _title(made), "point", initial=saved))
        try:
            running = opened.enter_context(services(made.cloud)) if task.services and requests else None
            outcomes = opened.enter_context(contextlib.closing(_outcomes(requests, task, scheduler)))
            for request, data in outcomes:
                if running is not None:
                    running.check()  # a point that failed with its servers says nothing about its settings
                save(data, made.folder / request.file)
                saved += 1
                bar.update(1)
        except (ResultError, ServiceError) as error:
            raise type(error)(f"{error}; {saved} of {total} points are saved in {made.folder}") from None


def _outcomes(requests: Sequence[Request], task: tasks.Task, scheduler: str | None) -> Iterator[tuple[Request, bytes]]:
    if task.alone:
        return ((request, execute(request)) for request in requests)
    from workbench.sweeps.cluster import side_by_side

    return side_by_side(requests, scheduler)


def _title(made: Sweep) -> str:
    return f"{made.name} (smoke: {made.repeats} of {PUBLISHED} repeats)" if made.smoke else made.name


def _check(*, name: str, repeats: int, scheduler: str | None, timeout_s: float, alone: bool) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise SettingError("name", name, "letters, digits, '-', '_' and '.', as in batch-size")
    if type(repeats) is not int or repeats < 1:
        raise SettingError("repeats", repeats, f"a whole number from 1 on; a published finding needs {PUBLISHED}")
    if not timeout_s > 0:
        raise SettingError("timeout_s", timeout_s, "seconds, more than 0")
    if scheduler is not None and alone:
        raise SettingError("scheduler", scheduler, "this task is measured alone, on this machine")

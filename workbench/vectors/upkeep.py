"""Work that a store does beside its reads and writes: building graphs, moving rows, tidying its files."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from workbench.errors import ServiceError, WorkbenchError

Job = Callable[[Callable[[], bool]], None]  # takes what says that it has to stop

_log = logging.getLogger(__name__)


class Upkeep:
    """Jobs one after another on a thread that lives as long as there are any: they are long and fill a core, or all of them."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many jobs are waiting or under way."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Do it some time, unless this is closed."""
        with self._changed:
            if self._closed:
                return
            self._jobs.append(job)
            if self._thread is None:
                # Not a daemon: one that the interpreter kills inside FAISS can take the process down. Jobs watch for the exit.
                self._thread = threading.Thread(target=self._run, name="vector-upkeep")
                self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Return once there is nothing to do.

        Raises:
            ServiceError: there still is after ``timeout_s`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._jobs, timeout_s):
                raise ServiceError(f"an index was still being built after {timeout_s:g} s")

    def close(self) -> None:
        """Have the job under way stop, and forget the others."""
        with self._changed:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join()

    def _stopping(self) -> bool:
        # The main thread's end means that the interpreter is on its way out, and nobody will ask any more.
        return self._closed or not threading.main_thread().is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._jobs or self._stopping():
                    self._jobs.clear()
                    self._thread = None
                    self._changed.notify_all()
                    return
                job = self._jobs[0]
            begun = time.monotonic()
            try:
                job(self._stopping)
            except Exception as error:  # the store goes on with what it has: exact search, a longer log
                expected = isinstance(error, (WorkbenchError, OSError))  # such as a full disk: a line says it all
                _log.error("upkeep failed after %.1f s: %s", time.monotonic() - begun, error, exc_info=not expected)
            with self._changed:
                self._jobs.popleft()

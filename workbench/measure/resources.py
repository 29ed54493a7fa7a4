"""What a run took of the machine: processor time and memory of its processes, sampled beside it.

The system counts a process's time in ticks of 10 ms (Linux), so that single intervals are rough and sums are not. Memory is
the resident set size (RSS): pages that processes share are counted in each of them.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil

from workbench.errors import SettingError

# Rows of the frame that are no processes: the whole machine, and what its hypervisor gave to others (Linux only).
MACHINE, STOLEN = "the whole machine", "stolen"

_BUSY = ("user", "nice", "system", "irq", "softirq")  # user and nice contain guest and guest_nice; iowait is idle
_FIGURES = ["cpu_cores", "rss_mib"]
_MIB = 2**20


class _Sample(NamedTuple):
    now_s: float
    used_s: dict[str, float]  # processor time since the first sample, of what is sampled
    rss: dict[str, int]  # bytes


class Resources:
    """Samples processes on a thread of its own while the context is open.

    Children count for their process, from the moment they appear, even when they outlive it; below another named process they
    count for that one. A process that ends is no error. What one does between its last sample and its end is not seen.
    A sample that the system does not grant is left out: the next interval is longer.

    Args:
        processes: what each is called, and its process id.
        every_s: between two samples, s.

    Raises:
        SettingError: two names for one process, a name that the frame uses itself, or ``every_s`` is not more than 0.
    """

    def __init__(self, processes: Mapping[str, int], every_s: float = 0.5) -> None:
        if len(set(processes.values())) < len(processes):
            raise SettingError("processes", dict(processes), "one name for each process id")
        if taken := {MACHINE, STOLEN} & processes.keys():
            raise SettingError("processes", min(taken), "a name other than that of the whole machine's rows")
        if not every_s > 0:
            raise SettingError("every_s", every_s, "more than 0 s")
        self._names = {pid: name for name, pid in processes.items()}
        self._every_s = every_s
        self._seen: dict[int, _Seen | None] = {}  # by process id; None: none of ours
        self._used_s = dict.fromkeys(processes, 0.0)
        self._samples: list[_Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def __enter__(self) -> "Resources":
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def frame(self) -> pd.DataFrame:
        """(t_s, process, cpu_cores, rss_mib): what each used in the interval that ends ``t_s`` s after the first sample.

        ``cpu_cores`` is processor time over time. The whole machine's rows are named ``MACHINE`` and ``STOLEN``; their
        ``rss_mib`` is NaN.
        """
        rows = [
            (
                now.now_s - self._samples[0].now_s,
                name,
                (used_s - before.used_s[name]) / (now.now_s - before.now_s),
                now.rss.get(name, np.nan) / _MIB,
            )
            for before, now in itertools.pairwise(self._samples)
            for name, used_s in now.used_s.items()
        ]
        return pd.DataFrame(rows, columns=["t_s", "process", *_FIGURES])

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._sample()

    def _sample(self) -> None:
        with contextlib.suppress(psutil.Error, OSError):
            now_s = time.perf_counter()
            machine = psutil.cpu_times()
            self._meet(set(psutil.pids()))
            rss = dict.fromkeys(self._names.values(), 0)
            for seen in self._seen.values():
                if seen is not None:
                    used_s, held = seen.read()
                    self._used_s[seen.name] += used_s
                    rss[seen.name] += held
            whole = {MACHINE: sum(getattr(machine, kind, 0.0) for kind in _BUSY)}
            if hasattr(machine, "steal"):
                whole[STOLEN] = machine.steal
            self._samples.append(_Sample(now_s, self._used_s | whole, rss))

    def _meet(self, pids: set[int]) -> None:
        """Find out whose each new process is; forget those that are gone."""
        for pid in self._seen.keys() - pids:
            del self._seen[pid]
        for pid in pids - self._seen.keys():
            self._belongs(pid)

    def _belongs(self, pid: int) -> str | None:
        """The name that a process counts for: its own, or its parent's."""
        if pid in self._seen:
            return self._seen[pid].name if self._seen[pid] else None
        self._seen[pid] = None  # until it is known better; also ends a walk in circles, should ids be reused under it
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            parent = process.ppid()
            if name := self._names.get(pid) or (self._belongs(parent) if parent else None):
                self._seen[pid] = _Seen(name, process, whole=bool(self._samples))
                return name
        return None


class _Seen:
    """A process that counts for ``name``. ``whole``: it began during the run, so that all its time counts."""

    def __init__(self, name: str, process: psutil.Process, *, whole: bool) -> None:
        self.name, self._process = name, process
        self._last_s = 0.0 if whole else None

    def read(self) -> tuple[float, int]:
        """The processor time since the last reading, s, and the resident bytes; nothing of a process that is gone."""
        try:
            with self._process.oneshot():
                times, rss = self._process.cpu_times(), self._process.memory_info().rss
        except psutil.Error:
            return 0.0, 0
        now_s = times.user + times.system
        used_s = now_s - (now_s if self._last_s is None else self._last_s)
        self._last_s = now_s
        return used_s, rss


def summary(frame: pd.DataFrame) -> dict[str, float]:
    """Of a ``Resources.frame``: ``cpu_cores``, the mean over the run, and ``memory_mib``, the most, both over all its processes.

    The whole machine's rows are left out. NaN of a frame without rows.
    """
    together = frame[~frame.process.isin([MACHINE, STOLEN])].groupby("t_s")[_FIGURES].sum()
    return {"cpu_cores": float(_mean(together).cpu_cores), "memory_mib": float(together.rss_mib.max())}


def by_process(frame: pd.DataFrame) -> pd.DataFrame:
    """The means over the run, by process: columns ``cpu_cores`` and ``rss_mib``. The whole machine's rows are among them."""
    means = {name: _mean(rows.set_index("t_s")[_FIGURES]) for name, rows in frame.groupby("process", sort=False)}
    return pd.DataFrame.from_dict(means, orient="index", columns=_FIGURES)


def _mean(rows: pd.DataFrame) -> pd.Series:
    """The mean over time of rows by ``t_s``, each of which holds from the one before it."""
    if rows.empty:
        return pd.Series(np.nan, rows.columns)
    return rows.mul(np.diff(rows.index, prepend=0.0), axis=0).sum(skipna=False) / rows.index[-1]

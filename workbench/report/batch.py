"""Several notebooks: side by side where they allow it, then the others one after another, each in a process of its own."""

import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

import msgspec

from workbench import places, progress
from workbench.process import Child
from workbench.report import files
from workbench.report.notebooks import path_of, read, side_by_side
from workbench.report.parameters import checked


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One notebook to report: its path, its parameters as text, where the report goes, the terminal for progress bars or ""."""

    notebook: str
    parameters: dict[str, str]
    output: str
    terminal: str

    @property
    def name(self) -> str:
        return Path(self.notebook).stem


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one notebook: its report, if one was written, and either its answer (None without a finding) or a failure."""

    name: str
    path: str | None = None
    answer: str | None = None
    failure: str | None = None

    def to_text(self) -> str:
        """One line."""
        said = self.answer or "no finding"
        return f"{self.path or self.name}: {f'FAILED: {self.failure}' if self.failure else said}"


def reports(
    names: Sequence[str],
    parameters: Mapping[str, str] | None = None,
    *,
    output: Path = places.REPORTS,
    began: Callable[[str], None] = lambda name: None,
) -> list[Outcome]:
    """Report each of the notebooks, all with the same parameters; ``began`` hears which one starts. Outcomes are in their order.

    Notebooks that allow it are executed side by side first, as many as there are cores; then the others, each alone. A
    notebook that fails stops no other. However this ends, none is left running.

    Raises:
        ReportError: one of them is no notebook or does not take the parameters; nothing was executed.
    """
    given, paths = dict(parameters or {}), [path_of(name) for name in dict.fromkeys(names)]
    for path in paths:
        checked(path, given)
    files.folder(output)
    together = [path for path in paths if side_by_side(read(path))]
    found = {}
    for chosen, at_once, terminal in (
        (together, os.cpu_count() or 1, ""),  # their bars would overwrite each other
        ([path for path in paths if path not in together], 1, progress.terminal()),
    ):
        jobs = [Job(notebook=str(path), parameters=given, output=str(output), terminal=terminal) for path in chosen]
        found |= _run(jobs, at_once, began)
    return [found[path.stem] for path in paths]


def _run(jobs: list[Job], at_once: int, began: Callable[[str], None]) -> dict[str, Outcome]:
    waiting, running, found = jobs[::-1], [], {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop()
                began(job.name)
                running.append(_Reporter(job))
            ended = wait([each.answers for each in running])
            for each in [each for each in running if each.answers in ended]:
                found[each.name] = each.outcome()
                running.remove(each)
    finally:
        for each in running:  # all are asked before any is waited for
            each.ask_to_end()
        for each in running:
            each.stop()
    return found


class _Reporter(Child):
    """``python -m workbench.report JOB``: prints the outcome as JSON at its end, and nothing else."""

    def __init__(self, job: Job) -> None:
        log = places.state() / "logs" / f"report-{job.name}.log"
        log.unlink(missing_ok=True)  # its last words count if it ends without an outcome
        super().__init__(job.name, "workbench.report", [msgspec.json.encode(job).decode()], log=log)
        self.answers = self._process.stdout

    def outcome(self) -> Outcome:
        """Waits for the end."""
        text = self.answers.read()
        self.stop()
        try:
            return msgspec.json.decode(text, type=Outcome)
        except msgspec.DecodeError:  # it was killed, or met what nobody thought of
            return Outcome(name=self.name, failure=f"{self.last_words()} (log: {self.log})")

    def ask_to_end(self) -> None:
        self._process.stdin.close()

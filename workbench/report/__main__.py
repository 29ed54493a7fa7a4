"""One notebook in a process of its own that ends with its owner: ``python -m workbench.report JOB``. See ``batch``."""

import os
import signal
import sys
from pathlib import Path

import msgspec

from workbench.errors import ReportError
from workbench.process import end_with_owner
from workbench.report.batch import Job, Outcome
from workbench.report.single import make


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exception, so that all is undone in order
    end_with_owner()
    job = msgspec.json.decode(sys.argv[1], type=Job)
    answers = os.dup(1)  # kept from the kernel: standard output ends when this process does, and has the outcome only
    os.dup2(2, 1)
    try:
        path, finding = make(Path(job.notebook), job.parameters, Path(job.output), terminal=job.terminal)
        outcome = Outcome(name=job.name, path=str(path), answer=finding.answer if finding else None)
    except ReportError as error:
        outcome = Outcome(name=job.name, path=error.path, failure=str(error))
    os.write(answers, msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()

"""``python -m workbench.sweeps.point REQUEST``: one point, measured in this process, its result as bytes on standard output."""

import os
import signal
import sys
import time
import traceback

import msgspec

from workbench.errors import ResultError
from workbench.measure.metrics import METRICS
from workbench.process import end_with_owner
from workbench.registry import implementation
from workbench.results import encode
from workbench.settings import Settings
from workbench.sweeps.execute import FAILED, OTHER_CODE, Request, now
from workbench.sweeps.identity import code


def main(request: Request) -> None:
    """Measure, and hand over the result to whoever started this process."""
    # What a task or a library prints must not end up in the result: it joins standard error.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exception, so that all is undone in order
        end_with_owner()
        found = code(request.function)
        data, status = _measured(request) if found == request.code else (found.encode(), OTHER_CODE)
        out.write(data)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # whatever a task left behind must not keep a measured point waiting


def _measured(request: Request) -> tuple[bytes, int]:
    """The result as bytes, and the exit status."""
    started, begun = now(), time.perf_counter()
    try:
        settings = Settings.from_dict(request.settings)
        measure = implementation({request.task: request.function}, request.task, "task")
        measured = measure(settings.but(seed=settings.seed + request.run), request.cloud)
        took_s = time.perf_counter() - begun
        if unknown := sorted(set(measured.figures) - set(METRICS)):
            raise ResultError(f"figure {unknown[0]!r} is not one of {', '.join(METRICS)}")
        return encode(request.result(started=started, took_s=took_s, figures=measured.figures), measured.samples), 0
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or ["no message"])[0]
        took_s = time.perf_counter() - begun
        return encode(request.result(started=started, took_s=took_s, error=f"{type(error).__name__}: {first}")), FAILED


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Request))

"""One run in a process of its own: ``python -m workbench.experiments.one_run SETTINGS`` prints its figures as JSON."""

import json
import sys

from workbench.pipeline import run
from workbench.servers import services
from workbench.settings import Settings
from workbench.summaries import percentile_ms


def main() -> None:
    settings = Settings.from_dict(json.loads(sys.argv[1]))
    with services() as running:
        shown = run(settings, running)
    print(json.dumps({"p50_ms": percentile_ms(shown, 50), "p99_ms": percentile_ms(shown, 99), "lost": shown.lost}))


if __name__ == "__main__":
    main()

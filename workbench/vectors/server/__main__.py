"""The vector server as a process of its own, which ends with its owner. ``workbench serve vectors`` is for people."""

import argparse
import sys
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.vectors.log import SYNCS
from workbench.vectors.server.app import serve


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.vectors.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--data", type=Path, help="the folder that keeps the indexes (default: in memory)")
    parser.add_argument("--index", default="hnsw", help="flat, hnsw or ivf with settings, as in hnsw:m=32,ef_search=64")
    parser.add_argument(
        "--sync", choices=SYNCS, default="full", help="what an acknowledged write survives (default full: a power cut)"
    )
    parser.add_argument("--visible-after", type=float, default=0.0, metavar="SECONDS", help="how long reads do not see a write")
    options = parser.parse_args()
    try:
        serve(options.port, options.data, options.index, options.sync, options.visible_after)
    except WorkbenchError as error:
        sys.exit(f"workbench.vectors.server: {error}")


if __name__ == "__main__":
    main()

"""One run of the whole pipeline."""

from workbench import pipeline, summaries
from workbench.errors import SettingError
from workbench.measure.tally import Tally
from workbench.replay import replay
from workbench.servers import services
from workbench.settings import Settings
from workbench.tasks import Measured


def measure(settings: Settings, cloud: str) -> Measured:
    """Replay the settings' events once; joins the servers that run, or starts them."""
    with services(cloud) as running:
        run = pipeline.run(settings, running)
    return Measured(summaries.figures(run), run.events)


def unwatched(settings: Settings, cloud: str) -> Measured:
    """The same replay while its events are only counted: what is left of its throughput when nothing is measured.

    Raises:
        SettingError: a closed loop, whose clients wait for events of their own.
    """
    import pandas as pd

    if settings.loop == "closed":
        raise SettingError("loop", settings.loop, "open: events that are only counted cannot be waited for one by one")
    with services(cloud) as running, pipeline.prepared(settings, running) as ready:
        tally = Tally(len(ready.data.events))
        replay(ready, tally)
    took_s = (tally.last_ns - tally.due_ns.min()) / 1e9
    return Measured({"goodput_per_s": len(ready.data.events) / took_s}, pd.DataFrame())

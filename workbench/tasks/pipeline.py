"""One run of the whole pipeline."""

from workbench import pipeline, summaries
from workbench.servers import services
from workbench.settings import Settings
from workbench.tasks import Measured


def measure(settings: Settings, cloud: str) -> Measured:
    """Replay the settings' events once; joins the servers that run, or starts them."""
    with services(cloud) as running:
        run = pipeline.run(settings, running)
    return Measured(summaries.figures(run), run.events)

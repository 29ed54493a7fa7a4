"""The command ``workbench``. Heavy imports happen inside the commands, so that help comes at once."""

import contextlib
import signal
import sys
import traceback
from pathlib import Path

import click

from workbench import places
from workbench.errors import WorkbenchError

CLOUDS = click.Choice(("embedded", "localstack", "aws"))


class _Group(click.Group):
    """Commands in the order they are written, and errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exception, so that all is undone in order
        try:
            return super().invoke(ctx)
        except WorkbenchError as error:
            _fail(str(error))
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", status=130)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            log = places.state() / "logs" / "error.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc())
            first = (str(error).strip().splitlines() or ["no message"])[0]
            _fail(f"{type(error).__name__}: {first} (details: {log})")


def _fail(message: str, *, status: int = 1) -> None:
    click.echo(f"workbench: {message}", err=True)
    sys.exit(status)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vector-stream-workbench", prog_name="workbench")
def main() -> None:
    """Measure an event-driven vector pipeline on one machine before paying for a cloud.

    Events go into Kinesis; a function enriches them from DynamoDB, embeds them, updates and asks a vector index, and writes
    recommendations that an API serves. Start with `workbench report 00-quickstart`.
    """


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="K=V", help="Set a parameter of each notebook named.")
@click.option("--all", "every", is_flag=True, help="Report every notebook.")
@click.option("--output", type=click.Path(path_type=Path), default=places.REPORTS, help="Folder that the reports go to.")
def report(names: tuple[str, ...], parameters: tuple[str, ...], every: bool, output: Path) -> None:
    """Execute notebooks and write them as HTML reports; without a NAME, list them with their questions.

    Example: workbench report 00-quickstart -p events=3000 -p rate=50
    """
    from workbench import report as reports

    given = _pairs(parameters)
    if every and names:
        raise click.UsageError("name notebooks or say --all, not both.")
    chosen = tuple(reports.names()) if every else tuple(dict.fromkeys(names))
    if not chosen:
        for name, question in reports.questions().items():
            click.echo(f"{name:24} {question}")
        return
    if given.get("cloud") == "aws":
        click.confirm("On AWS this creates resources that cost money until they are deleted. Go on?", abort=True)
    if len(chosen) == 1:
        click.echo(f"executing {chosen[0]} …", err=True)
        path, finding = reports.report(chosen[0], given, output=output)
        if finding:
            click.echo(finding.to_text())
        click.echo(f"report: {path}")
        return
    outcomes = reports.reports(chosen, given, output=output, began=lambda name: click.echo(f"executing {name} …", err=True))
    for outcome in outcomes:
        click.echo(outcome.to_text())
    if failed := sum(outcome.failure is not None for outcome in outcomes):
        _fail(f"{failed} of {len(outcomes)} notebooks failed")


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """Texts such as ``rate=50`` by name."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not K=V, as in rate=50.", param_hint="-p")
        if name in pairs:
            raise click.BadParameter(f"{name!r} is given twice.", param_hint="-p")
        pairs[name] = value
    return pairs


@main.command()
@click.option("-s", "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting, as in rate=200 or index=hnsw:m=32.")
@click.option("--cloud", type=CLOUDS, default="embedded", show_default=True, help="Where Kinesis, DynamoDB and Lambda run.")
@click.option("--list", "listed", is_flag=True, help="List the settings with their defaults, and stop.")
def run(pairs: tuple[str, ...], cloud: str, listed: bool) -> None:
    """Replay events through the pipeline once and print what came of them, stage by stage."""
    from workbench.settings import Settings

    settings = Settings.parse(pairs)
    if listed:
        for name, value in settings.to_dict().items():
            click.echo(f"{name:24} {value}")
        return
    from workbench import pipeline
    from workbench.servers import services

    with services(cloud) as running:
        click.echo(pipeline.run(settings, running).to_text())


@main.command()
@click.option("--over", multiple=True, required=True, metavar="NAME=V,V,…", help="A setting and its values; many: the product.")
@click.option("-s", "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting that all points share.")
@click.option("--task", default="pipeline", show_default=True, help="pipeline, index, or your own module:function.")
@click.option("--repeats", type=int, default=5, show_default=True, help="Runs of each point; fewer than 5 are a smoke test.")
@click.option("--name", default=None, help="Of the sweep and its folder. Default: the task and what is swept over.")
@click.option("--cloud", type=CLOUDS, default="embedded", show_default=True, help="Where Kinesis, DynamoDB and Lambda run.")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="A Dask scheduler, for tasks that may have neighbours.")
@click.option("--fresh", is_flag=True, help="Set earlier results of that name aside and measure everything anew.")
@click.option("--timeout-s", type=float, default=900.0, show_default=True, help="A point that takes longer counts as failed.")
def sweep(
    over: tuple[str, ...],
    pairs: tuple[str, ...],
    task: str,
    repeats: int,
    name: str | None,
    cloud: str,
    scheduler: str | None,
    fresh: bool,
    timeout_s: float,
) -> None:
    """Measure every combination of settings, each several times in fresh processes. Interrupted, it goes on where it was.

    Example: workbench sweep --task index --over index=flat,hnsw:m=16,ef_search=64,hnsw:m=32 --over catalogue=1000,10000

    A comma begins a new value, unless a parameter such as ef_search=64 follows.
    """
    from workbench import results, summaries, sweeps, tasks
    from workbench.sweeps.grid import axes, grid

    swept = axes(over)
    settings = grid(pairs, swept)
    sys.path.insert(0, str(Path.cwd()))  # a task of one's own may stand there, as for `python -m`
    name = name or "-".join([task.replace(":", "."), *swept])
    made = sweeps.sweep(
        settings, name=name, task=task, repeats=repeats, cloud=cloud, scheduler=scheduler, fresh=fresh, timeout_s=timeout_s
    )
    frame = results.load(made)
    click.echo(summaries.table(frame, by=list(swept), figures=tasks.task(task).main).to_string(index=False))
    if made.smoke:
        click.echo(f"smoke: {repeats} of {results.PUBLISHED} repeats, too few to conclude from")
    click.echo(f"results: {made.folder}")
    if (failed := frame[frame.error != ""]).size:
        _fail(f"{len(failed)} of {len(frame)} points failed, first {failed.file.iloc[0]}: {failed.error.iloc[0]}")


@main.command()
@click.option("--cloud", type=CLOUDS, default="embedded", show_default=True, help="Where Kinesis, DynamoDB and Lambda run.")
def up(cloud: str) -> None:
    """Start the local servers and keep them until `workbench down`. Runs and notebooks join them."""
    from workbench import servers

    _show(servers.hold(cloud))


@main.command()
def down() -> None:
    """End the local servers, whoever uses them."""
    from workbench import servers

    click.echo("the local servers ended" if servers.stop() else "no local servers ran")


@main.command()
def status() -> None:
    """Show which local servers run, where they answer, and who keeps them."""
    from workbench import servers

    state = servers.status()
    if state is None:
        click.echo("no local servers run")
    else:
        _show(state)


def _show(state: dict) -> None:
    click.echo(f"cloud {state['endpoints']['cloud']} at {state['endpoints']['aws_url']}")
    for server in state["servers"]:
        click.echo(f"  {server['name']:22} {server['url']}  pid {server['pid']}{'' if server['running'] else '  ENDED'}")
    kept = "until `workbench down`" if state["held"] else f"for {state['leases']} user(s)"
    click.echo(f"kept {kept}; logs in {places.state() / 'logs'}")
    for line in state["ended"]:
        click.echo(line, err=True)


@main.group()
def serve() -> None:
    """Serve one part alone, to programs of your own."""


@serve.command()
@click.option("--port", type=int, default=0, help="0 (default) takes a free one.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder that keeps the indexes (default: in memory).")
@click.option("--index", default="hnsw", show_default=True, help="What is built, as in hnsw:m=32,ef_search=64.")
@click.option("--sync", default="full", show_default=True, help="full: a write survives a power cut; normal, off: kill -9.")
@click.option("--visible-after", type=float, default=0.0, metavar="SECONDS", help="How long reads do not see a write.")
def vectors(port: int, data: Path | None, index: str, sync: str, visible_after: float) -> None:
    """The vector store behind Pinecone's protocol.

    Its clients need the URL that is printed as their host, and the key that stands in WORKBENCH_API_KEY.
    """
    from workbench.vectors.server.app import serve

    def say(url: str) -> None:
        click.echo(f"vectors: {url} (Ctrl-C ends it)")

    with contextlib.suppress(KeyboardInterrupt):  # the way it is meant to end
        serve(port, data, index, sync, visible_after, say=say)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--cloud", type=CLOUDS, default="embedded", show_default=True, help="Where Kinesis, DynamoDB and Lambda run.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(cloud: str, options: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks, with the local servers up until it ends.

    OPTIONS are JupyterLab's own, as in: workbench lab --no-browser --port 8899
    """
    import subprocess

    from workbench.servers import services

    with services(cloud) as running:
        click.echo(f"cloud {running.endpoints.cloud} at {running.endpoints.aws_url}", err=True)
        command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--notebook-dir={places.ROOT}"]
        command += ["--LabApp.default_url=/lab/tree/notebooks/00-quickstart.ipynb", *options]
        sys.exit(subprocess.run(command).returncode)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="List the benchmarks, and stop.")
@click.option("--output", type=click.Path(path_type=Path), default=None, help="JSON file that the figures go to.")
def bench(names: tuple[str, ...], listed: bool, output: Path | None) -> None:
    """Measure claimed figures against their baselines, side by side; all of them, or NAMES."""
    from workbench import benchmarks

    if listed:
        for name, text in benchmarks.described().items():
            click.echo(f"{name:28} {text}")
        return
    path = output or places.REPORTS / "benchmarks.json"
    for result in benchmarks.measure(names, path):
        click.echo(result.to_text())
    click.echo(f"figures: {path}")


@main.command()
def doctor() -> None:
    """Say what is missing on this machine, and how to get it."""
    from workbench import doctor as checks

    results = checks.checks()
    for check in results:
        click.echo(f"{'ok     ' if check.ok else 'MISSING' if check.needed else 'absent '} {check.name}: {check.detail}")
    if any(check.needed and not check.ok for check in results):
        sys.exit(1)


if __name__ == "__main__":
    main()

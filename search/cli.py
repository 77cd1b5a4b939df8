"""The command line. Commands import what they need when they are called, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mmtuna.search.work.signals import end_by_ctrl_c
from mmtuna.spaces.errors import InputError


class _Commands(TyperGroup):
    """Ctrl-C ends a command in one line; by itself typer ends in silence, older ones with status 1."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().make_context(*args, **extra)
        except KeyboardInterrupt:
            end_by_ctrl_c()

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            end_by_ctrl_c()


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Hyperparameter search for MMSegmentation.",
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,  # a local variable may hold a password
)
_debugging = False
data = typer.Typer(no_args_is_help=True, help="Make, convert and check data sets.", rich_markup_mode=None)
app.add_typer(data, name="data")

Spec = Annotated[Path, typer.Argument(help="The study's TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Finished trials the study shall hold; the spec's by default.")]
Slots = Annotated[int | None, typer.Option(min=1, help="Trials at the same time here; [resources] by default.")]
Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Train every trial to its end and append its whole curve to FILE."),
]
Folder = Annotated[Path, typer.Argument(help="Folder to write, new or empty.")]


def main() -> None:
    """Runs a command: exit status 0 done, 1 failed, 2 bad input, each bad input in one line on stderr; 130 Ctrl-C."""
    warnings.filterwarnings("ignore", module="PIL")  # of images' metadata, which is not read
    try:
        app()
    except InputError as error:
        from mmtuna.search.errors import NotReadyError

        for line in error.problems if isinstance(error, NotReadyError) else [str(error)]:
            print(f"mmtuna: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        end_by_ctrl_c()
    except Exception as error:
        if _debugging:
            raise
        print(f"mmtuna: {_line_of(error)}", file=sys.stderr)
        sys.exit(1)


def _only_with(ctx: typer.Context, option: str, *others: str) -> None:
    """Refuses each of `others`, options by their parameters' names, that was given though `option` was not."""

    def given(name: str) -> bool:
        source = ctx.get_parameter_source(name)
        return source is not None and source.name != "DEFAULT"

    flags = {parameter.name: max(parameter.opts, key=len) for parameter in ctx.command.params}
    for name in others:
        if given(name) and not given(option):
            raise InputError(
                f"{flags[name]} has an effect with {flags[option]} alone; add it, or leave {flags[name]} out"
            )


def _line_of(error: Exception) -> str:
    """An error that is no person's mistake, in one line."""
    from mmtuna.search.errors import StoppedError
    from mmtuna.studies.storage.outages import failure_line

    reason = str(error) if isinstance(error, StoppedError) else failure_line(error)
    if reason is None:
        said = (str(error).strip().splitlines() or ["no reason given"])[0]
        reason = f"{type(error).__name__}: {said[:300]}; mmtuna --debug COMMAND shows where"
    return reason


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error that is no bad input came from.")] = False,
) -> None:
    global _debugging
    _debugging = debug
    try:
        os.getcwd()
    except OSError:
        raise InputError("the working directory is gone; change to one that is there and run again") from None
    if debug:
        import logging

        logging.basicConfig()
        logging.getLogger("mmtuna").setLevel(logging.DEBUG)


@app.command()
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder for the spec.")],
    root: Annotated[Path | None, typer.Option("--data", help="Folder of the images and masks.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="MMSegmentation config: the base, and its data; --data moves these.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes by comma; what masks hold tells how many.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="paper (the default) or extended, with --data.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Run the config and its bases as Python.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.FIELD=VALUE", help="A field of the spec, such as study.trials=50."),
    ] = None,
) -> None:
    """Write a commented study.toml for a folder of data, or for an MMSegmentation config; says what it took."""
    from mmtuna.search.commands.init import init as write

    _only_with(ctx, "config", "trust_code")
    names = _names(classes) if classes else []
    write(folder, root, names, preset, config, trust_code=trust_code, changes=changes or [])


@app.command()
def check(
    spec: Spec,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the iteration of each combination.")] = False,
    time: Annotated[bool, typer.Option("--time", help="Measure what a trial and the study take.")] = False,
    as_json: Json = False,
) -> None:
    """Check everything that can be known to fail before trial 1, one iteration of each combination that matters too."""
    from mmtuna.search.commands.check import check as look

    look(spec, as_json, quick=quick, time=time)


@app.command()
def run(
    spec: Spec,
    trials: Trials = None,
    slots: Slots = None,
    replicates: Annotated[
        int | None, typer.Option(min=2, help="Afterwards, train the best configs until each has so many seeds.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="How many of the best --replicates trains; 5.")] = None,
    record: Record = None,
    as_json: Json = False,
) -> None:
    """Search until the study holds the trials asked for; called again, it goes on."""
    from mmtuna.search.commands.run import run as search

    search(spec, trials, slots, as_json, record=record, replicates=replicates, top=top)


@app.command()
def worker(
    spec: Spec, trials: Trials = None, slots: Slots = None, record: Record = None, as_json: Json = False
) -> None:
    """Add one more worker to a study that has begun."""
    from mmtuna.search.commands.run import run as search

    search(spec, trials, slots, as_json, must_exist=True, record=record)


@app.command()
def launch(
    spec: Spec,
    address: Annotated[str, typer.Option(help="The cluster: auto, HOST:PORT or ray://HOST.")] = "auto",
    trials: Trials = None,
    as_json: Json = False,
) -> None:
    """Search on a Ray cluster, one Ray task a trial; called again, it goes on."""
    from mmtuna.search.commands.run import launch as search

    search(spec, address, trials, as_json)


@app.command()
def replay(
    ctx: typer.Context,
    file: Spec,
    trials: Trials = None,
    slots: Slots = None,
    studies: Annotated[
        int | None, typer.Option(min=1, help="Simulate that many whole studies of each setting, in simulated time.")
    ] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="With --studies: what `run --record` wrote; [replay] curves by default.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="With --studies: samplers by comma; the spec's.")] = None,
    pruner: Annotated[str | None, typer.Option(help="With --studies: pruners by comma; the spec's.")] = None,
    workers: Annotated[str, typer.Option(help="With --studies: numbers of workers by comma.")] = "1",
    iterations: Annotated[
        int | None, typer.Option(min=1, help="With --studies: a budget of training iterations in place of trials.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="With --studies: a budget of simulated seconds in place of trials.")
    ] = None,
    collapse: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="With --studies: percent from which on a collapse is stopped, 100: never; as in a study.",
        ),
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, max=100, help="With --studies: as if each trial was evaluated so often only.")
    ] = None,
    portfolio: Annotated[
        str | None,
        typer.Option(help="With --studies: files of other data sets by comma, to begin with what did well there."),
    ] = None,
    warm: Annotated[
        str | None, typer.Option(help="With --studies: earlier studies by comma; [study] warm by default.")
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            help="With --studies: leave out one at a time of sampler, pruner, collapse, portfolio, warm, prior, "
            "confirm, stop."
        ),
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0, help="With --studies: standard deviation by which seeds alone change the metric.")
    ] = 0.0,
    answers: Annotated[str, typer.Option(help="With --studies: recorded, nearest, blend or alike.")] = "recorded",
    within: Annotated[
        float, typer.Option(min=0, max=1, help="With --studies: the distance up to which a recorded trial is near.")
    ] = 0.1,
    picture: Annotated[Path | None, typer.Option("-o", help="With --studies: PNG of the regret to write.")] = None,
    as_json: Json = False,
) -> None:
    """Search over recorded or generated curves in place of training ([replay] in the spec), or simulate studies."""
    if studies is None:
        from mmtuna.search.commands.run import replay as search

        _only_with(ctx, "studies", *(ctx.params.keys() - {"file", "trials", "slots", "studies", "as_json"}))
        search(file, trials, slots, as_json)
        return
    if slots is not None:
        raise InputError("--slots: simulated studies have --workers; give these, or leave --studies out")
    from mmtuna.search.commands.replay import Asked, simulate

    simulate(
        file,
        Asked(
            samplers=sampler,
            pruners=pruner,
            workers=workers,
            trials=trials,
            iterations=iterations,
            seconds=seconds,
            collapse=collapse,
            without=without,
            noise=noise,
        ),
        studies=studies,
        recorded=recorded,
        evaluations=evaluations,
        portfolio=portfolio,
        warm=warm,
        answers=answers,
        within=within,
        picture=picture,
        as_json=as_json,
    )


@app.command()
def status(
    ctx: typer.Context,
    spec: Spec,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between, with --watch.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Workers, trials by state and cause, speed, and the best so far."""
    from mmtuna.search.commands.status import status as show

    _only_with(ctx, "watch", "every")
    show(spec, as_json, every if watch else None)


@app.command()
def copy(spec: Spec, to: Annotated[str, typer.Option("--to", help="Database URL, without its password.")]) -> None:
    """Copy the study to another storage, whole and checked."""
    from mmtuna.search.commands.copy import copy as move

    move(spec, to)


@app.command()
def table2(
    ctx: typer.Context,
    spec: Spec,
    replicates: Annotated[
        int | None, typer.Option(min=1, help="Train every row this many times first, each with a seed of its own.")
    ] = None,
    slots: Slots = None,
    style: Annotated[str, typer.Option("--format", help="text, markdown, csv or latex.")] = "text",
    as_json: Json = False,
) -> None:
    """The paper's Table 2 beside the study's."""
    from mmtuna.search.commands.table2 import table2 as show

    _only_with(ctx, "replicates", "slots")
    show(spec, replicates, slots, style, as_json)


@app.command()
def leak(
    spec: Spec,
    replicates: Annotated[int, typer.Option(min=1, help="Trainings of each config by each split.")] = 3,
    folds: Annotated[int, typer.Option(min=2, help="Folds by subject.")] = 5,
    trials: Annotated[
        list[int] | None, typer.Option("--trial", help="A complete trial, several of them too; the best by default.")
    ] = None,
    configs: Annotated[Path | None, typer.Option(help="TOML file with a table [[config]] a config.")] = None,
    metric: Annotated[str | None, typer.Option(help="What is compared; the study's metric by default.")] = None,
    slots: Slots = None,
    as_json: Json = False,
) -> None:
    """How much of the figures comes from subjects on both sides: the same configs on subjects they have not seen."""
    from mmtuna.search.commands.leak import leak as show

    show(spec, replicates, folds, trials or [], configs, metric, slots, as_json)


@app.command()
def report(
    spec: Spec,
    out: Annotated[Path | None, typer.Option("-o", help="HTML file to write.")] = None,
    methods: Annotated[
        Path | None, typer.Option("--methods", metavar="FILE", help="Markdown file for methods section and checklist.")
    ] = None,
) -> None:
    """Write the report: one HTML file that needs no network."""
    from mmtuna.search.commands.report import report as write

    write(spec, out, methods)


@app.command()
def export(
    spec: Spec,
    out: Annotated[Path, typer.Option("-o", help="Folder to write, new or empty.")],
    trial: Annotated[int | None, typer.Option(help="Trial to export; the best by default.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train its params on all images first.")] = False,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="The nets of its folds, joined.")] = False,
) -> None:
    """Export a trial as a verified bundle: config, weights, ONNX, predict.py, model card."""
    from mmtuna.search.commands.export import export as write

    write(spec, out, trial, retrain, ensemble)


@app.command("test")
def measure_unseen(
    spec: Spec,
    trial: Annotated[int | None, typer.Option(help="Trial to measure; the best by default.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure though it was done before; that is kept.")] = False,
    as_json: Json = False,
) -> None:
    """Measure the chosen trial on [data] test, the images that no trial saw: once, and the study keeps it."""
    from mmtuna.search.commands.test import look

    look(spec, trial, again, as_json)


@app.command()
def compare(
    ctx: typer.Context,
    spec: Spec,
    a: Annotated[int, typer.Argument(help="Trial, by custom the untuned one.")],
    b: Annotated[int, typer.Argument(help="Trial, by custom the tuned one.")],
    out: Annotated[Path | None, typer.Option("-o", help="PNG file to draw them to, as the paper's figure 6.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Validation image, with suffix; worst, median, best by default.")
    ] = None,
    other: Annotated[Path | None, typer.Option("--other", metavar="SPEC", help="The study that trial B is of.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether trial B's config is better than A's, tied or worse; with -o draw both beside the truth."""
    from mmtuna.search.commands.compare import compare as look

    _only_with(ctx, "out", "image")
    look(spec, a, b, out, image, other, as_json=as_json)


@app.command()
def paper(spec: Spec, out: Annotated[Path, typer.Option("-o", help="Folder to write, new or empty.")]) -> None:
    """The paper's Tables 1 and 2 and figures 5 and 6, from a study."""
    from mmtuna.search.commands.paper import paper as write

    write(spec, out)


@app.command()
def dashboard(
    spec: Spec,
    host: Annotated[str, typer.Option(help="Address to listen on; one that others reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8080,
    writable: Annotated[bool, typer.Option("--writable", help="Allow changes: notes, uploads, deletion.")] = False,
) -> None:
    """Show the study in a browser: trials, notes, pictures, plots."""
    from mmtuna.search.dashboard.server import dashboard as show

    show(spec, host, port, writable)


@app.command()
def baseline(spec: Spec, as_json: Json = False) -> None:
    """Table 1: the pre-trained weights of each decoder on the data, without fine-tuning."""
    from mmtuna.search.commands.baseline import baseline as measure

    measure(spec, as_json)


@data.command("phantom")
def phantom(
    folder: Folder,
    subjects: Annotated[int, typer.Option(help="Number of eyes.")] = 8,
    scans: Annotated[int, typer.Option(help="B-scans an eye.")] = 6,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 256,
    seed: int = 0,
) -> None:
    """Write synthetic OCT volumes with fluid."""
    from mmtuna.objectives.data.phantom import write_phantom

    found = write_phantom(folder, subjects=subjects, scans=scans, size=size, seed=seed)
    print(f"{len(found.names)} B-scans of {subjects} eyes in {folder}")


@data.command("fundus")
def fundus(
    folder: Folder,
    images: Annotated[int, typer.Option(help="Number of photographs.")] = 32,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 256,
    seed: int = 0,
) -> None:
    """Write synthetic fundus photographs with vessels, to pre-train on."""
    from mmtuna.objectives.data.phantom_fundus import write_fundus

    found = write_fundus(folder, images=images, size=size, seed=seed)
    print(f"{len(found.names)} photographs in {folder}")


@data.command("chiu2015")
def chiu2015(
    source: Annotated[Path, typer.Argument(help="Folder with Subject_01.mat .. Subject_10.mat.")],
    folder: Folder,
    full_resolution: Annotated[bool, typer.Option(help="Keep 496 x 768 in place of 256 x 256.")] = False,
) -> None:
    """Convert the Duke DME volumes of Chiu et al. 2015 into the paper's data set."""
    from mmtuna.objectives.data.chiu2015 import convert

    found = convert(source, folder, full_resolution=full_resolution)
    print(f"{len(found.names)} annotated B-scans in {folder}")


@data.command("check")
def check_data(
    root: Annotated[Path, typer.Argument(help="Root of the data set.")],
    classes: Annotated[str, typer.Option(help="Names of the mask values 0, 1, ..., by comma.")] = "background,fluid",
    as_json: Json = False,
) -> None:
    """Read every image and mask strictly and list all that is wrong."""
    from mmtuna.search.commands.data import check as read

    read(root, _names(classes), as_json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]

"""`tenkizu rain ensemble`: draws of a model with noise, or models of several seeds, together."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tenkizu.core.console import track


def ensemble(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="NetCDF file of gridded rain, GRIB2 files of one forecast, or a folder of them.",
        ),
    ],
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Run folder, exported model folder or a name that `tenkizu models` lists; give "
            "this option once for a model with noise, else once for each member.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for scores and figures; or a .nc file for the hours."
        ),
    ],
    members: Annotated[
        int | None,
        typer.Option(min=1, help="Members to draw from each model with noise.", show_default="20"),
    ] = None,
    var: Annotated[
        str | None,
        typer.Option("--var", help="Rain variable, when the file does not make it clear."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Units of the rain, when the file states none: mm, m, mm/h, ..."),
    ] = None,
    time_stamp: Annotated[
        Literal["start", "end"] | None,
        typer.Option(help="What a time stamp marks, when the file has no time bounds."),
    ] = None,
    totals: Annotated[
        Literal["since-start", "interval"] | None,
        typer.Option(
            help="What the values of the file are, when it does not say so: the water since the "
            "start of a run, to be differenced, or that of each interval."
        ),
    ] = None,
    window_start: Annotated[
        int,
        typer.Option(min=0, max=23, help="Hour (UTC) at which a window begins; 0 is 00, 03, ..."),
    ] = 0,
    regrid: Annotated[
        Literal["conservative", "native"] | None,
        typer.Option(
            help="For a grid whose spacing is off that of the training by more than 20 %: bring "
            "the rain to a grid of that spacing (conservative), or take it as it is (native)."
        ),
    ] = None,
) -> None:
    """How sure is the split? Many splits of each total, as an ensemble.

    A model with noise, such as that of the configuration rain_ensemble, gives as many members as
    are asked for:

      tenkizu config new rain_ensemble -o my_ensemble.yaml

      tenkizu rain train my_ensemble.yaml

      tenkizu rain ensemble hourly.nc -m runs/rain_ensemble --members 20 -o scores

    A member depends on its number and on the window alone: the first 10 of 20 are the same 10.

    Without noise, models that were trained from different seeds are the members, though too alike:

      tenkizu rain train CONFIG train.seed=1 run.name=a

      tenkizu rain train CONFIG train.seed=2 run.name=b

      tenkizu rain ensemble hourly.nc -m runs/a -m runs/b -o scores

    With a folder as output and hourly DATA this writes ensemble_scores.json, ensemble.txt,
    rank_histogram.png and reliability.png: CRPS and energy score, Brier score at 1, 5 and 10 mm,
    rank histogram, spread against error, and the errors of the members' mean, all over cells with
    S of at least 0.1 mm. Fair scores are shown, which do not reward a larger ensemble for its size.

    With a .nc file as output it writes the hours of every member, along a dimension "member"; DATA
    may then be 3-hour totals. Every member's hours add up to the total, and so does their mean.

    The same model twice is an error; models with and without noise may be mixed.
    """
    from tenkizu.rain.ensemble import evaluate_ensemble, predict_ensemble
    from tenkizu.rain.hourly import SourceOptions

    options = SourceOptions(var, units, time_stamp, totals)
    if output.suffix == ".nc":
        predict_ensemble(models, data, output, options, window_start, track, regrid, members)
        typer.echo(f"written: {output}")
        return
    evaluate_ensemble(models, data, output, options, window_start, track, regrid, members)
    typer.echo((output / "ensemble.txt").read_text(encoding="utf-8"), nl=False)
    typer.echo(f"written: {output / 'ensemble_scores.json'}, ensemble.txt and figures")

"""`tenkizu patterns prepare`."""

from pathlib import Path
from typing import Annotated

import typer

from tenkizu.core.console import Config, Overrides, track


def prepare(
    config: Config,
    overrides: Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store made from other settings.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes on this machine; default: one a processor, as far as 1.8 GB of memory "
            "for all of them allow, and one for little work.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler, such as tcp://host:8786, whose workers make the store in place "
            "of processes here; files and store must have the same names on all machines.",
        ),
    ] = None,
    merged: Annotated[
        bool,
        typer.Option(
            "--merged",
            help="Also write all maps with their labels into STORE/era5_all_data_pp.nc.",
        ),
    ] = False,
    from_merged: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take the maps from this merged file in place of those of the configuration; "
            "all derived fields are computed again.",
        ),
    ] = None,
) -> None:
    """Derive the channels and make the sample store that training reads.

    Days are made in blocks, several at a time, each by a process of its own. An interrupted run
    goes on where it stopped, a block whose process dies is made again, and the store does not
    depend on who made it. A finished store is left alone.

    Beside the store lie CF NetCDF files of all fields, one a year (data.netcdf). Space on the disk
    is looked for before anything is written.
    """
    from tenkizu.core.config import load_config
    from tenkizu.patterns import prepare as run
    from tenkizu.patterns.config import PatternsConfig
    from tenkizu.patterns.merged import NAME
    from tenkizu.patterns.merged import from_merged as taken_from

    settings = load_config(PatternsConfig, config, overrides or ())
    if from_merged is not None:
        settings = taken_from(settings, from_merged)
    target = settings.data.store / NAME if merged else None
    store = run(
        settings,
        overwrite=overwrite,
        track=track,
        workers=workers,
        scheduler=scheduler,
        merged=target,
    )
    arrays = store.meta["arrays"]
    typer.echo(f"store: {store.path}")
    typer.echo(f"days: {len(store)}, {store.meta['days'][0]} to {store.meta['days'][-1]} UTC")
    typer.echo(f"maps: {', '.join(arrays['maps']['channels'])}")
    if store.meta["left_out"]:
        typer.echo(f"left out: {len(store.meta['left_out'])} days, listed in store.json")
    if target is not None:
        typer.echo(f"merged: {target}")

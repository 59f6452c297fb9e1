"""`tenkizu patterns inspect`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A prepared store.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for inspection.json, .txt and the charts."),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(
            help="Date (UTC) of the charts, YYYY-MM-DD or YYYY-MM-DDTHH:MM; default: the middle "
            "of the store. Needs -o."
        ),
    ] = None,
) -> None:
    """Look at a prepared store before training: channels, days, labels, size.

    Prints units, mean, standard deviation, extremes and missing share of every channel over the
    whole store; days with each type, year by year, if the store's labels are known; days that are
    missing between the first and the last, with the reason; grid and size on disk.

    With -o DIR the same goes to DIR/inspection.txt and DIR/inspection.json, and all channels of
    one day are drawn as maps, 24 to a page: DIR/channels_DATE_1.png. Every map has its own colour
    scale, about zero where the sign means a direction; grey cells have no value, such as land in
    sst; the numbers in the corner are the smallest and the largest value.
    """
    from tenkizu.core.errors import ConfigError
    from tenkizu.core.store import SampleStore, write_json, write_text
    from tenkizu.patterns.inspection.overview import index_of_day, overview, stored_times
    from tenkizu.patterns.inspection.overview_text import as_text

    if day is not None and output is None:
        raise ConfigError(
            "needs a folder for the charts", variable="--day", next_step="add -o FOLDER"
        )
    if store.is_file():
        raise ConfigError(
            "a file, not a store",
            file=store,
            expected="the folder that `prepare` made",
            next_step="name the folder that is data.store in the configuration",
        )
    opened = SampleStore(store)
    found = overview(opened)
    text = as_text(found)
    typer.echo(text, nl=False)
    if output is None:
        return
    index = index_of_day(stored_times(opened), day)
    from tenkizu.patterns.inspection.contact_sheet import draw_contact_sheet

    pages = draw_contact_sheet(output, opened, index)
    write_json(output / "inspection.json", found)
    write_text(output / "inspection.txt", text)
    typer.echo(f"\nwritten: {output / 'inspection.json'}, {output / 'inspection.txt'}")
    typer.echo("charts: " + ", ".join(str(path) for path in pages))

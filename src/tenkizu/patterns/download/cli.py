"""`tenkizu patterns download`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from tenkizu.core.console import Config, Overrides


class Verify(StrEnum):
    """How files of earlier downloads are checked."""

    size = "size"
    full = "full"


def download(
    config: Config,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be fetched, how large it is and what it costs, and stop.",
        ),
    ] = False,
    verify: Annotated[
        Verify | None,
        typer.Option(
            help="How files of earlier downloads are checked: by request and size, or in full, "
            "checksum and every value. Default: download.verify."
        ),
    ] = None,
) -> None:
    """Fetch the ERA5 files of a configuration from the Climate Data Store, checked.

    Needs a free account: docs/era5.md says how to make one, step by step. The key is looked for in
    ECMWF_DATASTORES_KEY, ~/.ecmwfdatastoresrc, CDSAPI_KEY and ~/.cdsapirc.

    The files, one a task and year, come into data.raw_dir: 23 a year and the last day of the year
    before, or with download.tasks=needed those that the channels are made of. Files that are there
    are kept. Costs are asked for before anything is submitted; download.split=month asks month by
    month where a limit demands it.

    At most four requests are under way. Stopped or killed, the command goes on when run again, also
    with the requests that wait at the server. Errors of the server and broken connections are tried
    again (download.retries, download.retry_pause_s); what fails in the end is listed, and the exit
    code is 4. All is also written to download.log in data.raw_dir, so `nohup` suffices.
    """
    from tenkizu.core.config import load_config
    from tenkizu.patterns.config import PatternsConfig

    chosen = [*(overrides or []), *([f"download.verify={verify.value}"] if verify else [])]
    settings = load_config(PatternsConfig, config, chosen)
    if dry_run:
        _plan(settings)
        return
    from tenkizu.patterns.download.downloader import download as run
    from tenkizu.patterns.download.folder import log_to
    from tenkizu.patterns.download.table import live_board, megabytes
    from tenkizu.patterns.download.wanted import wanted_files

    folder = wanted_files(settings)[0].whole.path.parent
    with log_to(folder), live_board() as board:
        paths = run(settings, board)
    size = sum(path.stat().st_size for path in paths)
    typer.echo(f"{len(paths)} files, {megabytes(size)}, in {folder}: all there")


def _plan(settings: Any) -> None:  # noqa: ANN401 - PatternsConfig
    """Print what a download would do; nothing is written or submitted."""
    import shutil

    from tenkizu.patterns.download.downloader import survey
    from tenkizu.patterns.download.table import megabytes
    from tenkizu.patterns.download.wanted import wanted_files

    files = wanted_files(settings)
    found = survey(files, settings.download.verify == "full")
    missing = [
        part
        for file in files
        if not found[file.whole.name].usable
        for part in file.parts
        if not found[part.name].usable
    ]
    there = [file.whole.path for file in files if found[file.whole.name].usable]
    folder, first = files[0].whole.path.parent, files[-1].whole
    north, west, south, east = first.area
    rows, columns = first.grid.shape
    typer.echo(f"folder       {folder}")
    typer.echo(
        f"area         {north:g} to {south:g} N, {west:g} to {east:g} E: {rows} x {columns} points"
    )
    typer.echo(f"hours        {' '.join(f'{hour:02}' for hour in first.hours)} UTC")
    _print_tasks(files, found)
    size = sum(path.stat().st_size for path in there)
    typer.echo(f"there        {len(there)} of {len(files)} files, {megabytes(size)}")
    to_come = sum(request.estimated_bytes for request in missing)
    typer.echo(f"to fetch     {len(missing)} requests, about {megabytes(to_come)}")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    typer.echo(f"free space   {megabytes(shutil.disk_usage(existing).free)}")
    for name, finding in found.items():
        if finding.state == "other":
            typer.echo(f"fetched again: {name}: {finding.reason}")
    if missing:
        _print_costs(settings, missing)


def _print_tasks(files: Any, found: Any) -> None:  # noqa: ANN401
    """A line for each task: what it holds, how many files, how large."""
    from rich.console import Console
    from rich.table import Table

    from tenkizu.patterns.download.table import megabytes

    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(("task", "fields", "files", "there", "MB a file")):
        table.add_column(column, justify="right" if i > 1 else "left", no_wrap=True)
    groups: dict[str, list[Any]] = {}
    for file in files:
        groups.setdefault(file.whole.task.name, []).append(file)
    for name, group in groups.items():
        there = sum(found[file.whole.name].usable for file in group)
        largest = max(file.whole.estimated_bytes for file in group)
        fields = " ".join(group[0].whole.task.fields)
        table.add_row(name, fields, str(len(group)), str(there), megabytes(largest).split()[0])
    Console().print(table)


def _print_costs(settings: Any, missing: Any) -> None:  # noqa: ANN401
    """Where the key is and what the requests cost; without a key, how to get one."""
    from tenkizu.core.errors import DownloadError
    from tenkizu.patterns.download.costs import costs_of
    from tenkizu.patterns.download.credentials import find_credentials
    from tenkizu.patterns.download.patience import Patience
    from tenkizu.patterns.download.server import SMALLER, Server

    try:
        credentials = find_credentials(settings.download.url)
    except DownloadError as error:
        typer.echo(f"key          none yet: {error}")
        return
    typer.echo(f"key          {credentials.source}, for {credentials.url}")
    chosen = settings.download
    patience = Patience(chosen.retries, chosen.retry_pause_s)
    server = Server(credentials, patience, chosen.timeout_s, chosen.poll_s)
    server.check_key()
    costs = costs_of(server, missing)
    highest = max(costs, key=lambda cost: cost.cost)
    limit = "no limit" if highest.limit is None else f"limit {highest.limit:g}"
    typer.echo(f"cost         up to {highest.cost:g} a request, {limit}")
    if highest.too_high:
        typer.echo(f"too much: {SMALLER}")

"""`tenkizu patterns download` as a program of its own, to be killed: CONFIG [OPTION]..."""

import signal
import sys

import typer

from tenkizu.core.errors import TenkizuError
from tenkizu.core.launch import log_to_terminal
from tenkizu.patterns.download.cli import download

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(download)


def main():
    """The command, with its exit codes."""
    # A shell that starts tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log_to_terminal(False)
    try:
        app()
    except TenkizuError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""The errors a user can meet, each with its exit code and a message that says what to do next."""

from pathlib import Path


class TenkizuError(Exception):
    """Base of all expected errors; the command line prints it without a traceback.

    Args:
        problem: what is wrong, in one clause.
        file: the file it was found in.
        variable: the variable, key or option concerned.
        found: the value met.
        expected: what would have been right.
        next_step: what the user can do now.

    The message reads ``file: variable: problem; found ..., expected ...`` and, on a second line,
    the next step. All parts but the problem are optional.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        variable: str | None = None,
        found: object = None,
        expected: object = None,
        next_step: str | None = None,
    ) -> None:
        where = "".join(f"{part}: " for part in (file, variable) if part is not None)
        compared = [
            f"{word} {value}"
            for word, value in (("found", found), ("expected", expected))
            if value is not None
        ]
        message = where + "; ".join([problem, ", ".join(compared)] if compared else [problem])
        if next_step:
            message += f"\n  next: {next_step}"
        super().__init__(message)


class CheckFailed(TenkizuError):
    """A check or a comparison found failures."""

    exit_code = 1


class ConfigError(TenkizuError):
    """The configuration, an override or a command-line value is wrong."""

    exit_code = 2


class DataError(TenkizuError):
    """An input file, a prepared store or a model folder is not what it must be."""

    exit_code = 3


class DownloadError(TenkizuError):
    """A server did not give what was asked of it."""

    exit_code = 4


class TrainingError(TenkizuError):
    """Training could not go on."""

    exit_code = 5

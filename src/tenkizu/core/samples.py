"""The small real data files that ship inside the package."""

from importlib.resources import files
from pathlib import Path

from tenkizu.core.errors import DataError

PREFIX = "sample:"


def samples_folder() -> Path:
    """The folder of shipped samples."""
    return Path(str(files("tenkizu"))) / "samples"


def shipped_configs() -> dict[str, Path]:
    """The shipped configurations by name."""
    return {p.stem: p for p in (Path(str(files("tenkizu"))) / "configs").glob("*.yaml")}


def input_path(name: str) -> Path:
    """The file behind a configured name: a path, or ``sample:NAME`` for a shipped file.

    Raises:
        DataError: there is no such file.
    """
    if not name.startswith(PREFIX):
        path = Path(name).expanduser()
        if not path.is_file():
            raise DataError("no such file", file=path, next_step="check the path")
        return path
    wanted = name.removeprefix(PREFIX)
    shipped = {p.name: p for p in samples_folder().glob("*/*.nc")}
    if wanted not in shipped:
        raise DataError(
            "no such sample", file=name, expected="one of " + ", ".join(sorted(shipped))
        )
    return shipped[wanted]

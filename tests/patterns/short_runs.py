"""What the tests from end to end share: the command in this process, files, runs without pictures.

Drawing takes most of the time of a short run, and has tests of its own.
"""

import contextlib
import io
import logging
import sys

import numpy as np
import pytest
import xarray as xr

from tenkizu import cli
from tenkizu.core.config import dump_config
from tenkizu.core.samples import input_path

ATLANTIC = "sample:ncep_msl_natlantic_2p5_daily_2001_2010.nc"
"""Daily pressure, 30-70 N, 70 W-10 E, of which the tiny run uses 30 W-10 E."""


def command(*arguments):
    """Run ``tenkizu ARGUMENTS`` in this process; returns exit code, standard and error output.

    The package's logger, which the command sends to the error output, is left as it was.
    """
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger("tenkizu")
    before = {name: getattr(root, name) for name in ("handlers", "level", "propagate")}
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["tenkizu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    for name, value in before.items():
        setattr(root, name, value)
    return stop.value.code or 0, out.getvalue(), err.getvalue()


def undrawn(monkeypatch, keep_cases=False):
    """Leave out the figures, and charts of single days and report as well, unless they are kept."""
    monkeypatch.setattr("tenkizu.patterns.evaluation._drawings", lambda *_: {})
    if not keep_cases:
        monkeypatch.setattr("tenkizu.patterns.finishing._draw", lambda *_: None)


def written(config, path):
    """A configuration as a YAML file."""
    path.write_text(dump_config(config), encoding="utf-8")
    return path


def atlantic(path, first, last, change=None):
    """Write some days of the shipped pressure maps as a file of their own."""
    with xr.open_dataset(input_path(ATLANTIC)) as dataset:
        days = dataset.sel(time=slice(first, last)).load()
    (days if change is None else change(days)).to_netcdf(path)
    return path


def moved(path, hours):
    """Change the times of a file by some hours."""
    with xr.open_dataset(path) as dataset:
        later = dataset.assign_coords(time=dataset["time"] + np.timedelta64(hours, "h")).load()
    later.to_netcdf(path)
    return path

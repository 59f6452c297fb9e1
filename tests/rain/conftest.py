"""Synthetic hourly rain shared by the tests of this folder, with its generator.

`moving_rain` makes the numbers and `write_rain` the file; both are also fixtures, because test
modules do not import this one. ``tiny_rain_file``, ``tiny_store`` and what ``write_rain`` returns
are to be read only: the first two live for the whole session.

Five days, 30 May to 3 June 2023, on 24 x 32 cells: 40 windows, two months, two seasons. The splits
of ``tiny_config`` give 23 training windows (30 May to 1 June), 6 validation windows (2 June) and 7
test windows (3 June); one window on each side of the two borders is left out.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from score_fields import Fields

from tenkizu import cli
from tenkizu.rain.config import RainConfig
from tenkizu.rain.preparation import prepare

FIRST_END = np.datetime64("2023-05-30T01:00")
SHAPE = (24, 32)
HOURS = 120


def _moving_rain(hours: int = HOURS, shape: tuple[int, int] = SHAPE, seed: int = 11) -> np.ndarray:
    """Hourly amounts (hours, H, W) in mm of round showers that drift north-east and decay.

    Each hour is the mean of six snapshots, so that hours, like those of real rain, hold the path
    of a shower. Amounts are multiples of 0.01 mm; three values in four are exactly 0.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rain = np.zeros((hours, *shape))
    for _ in range(hours // 2):
        birth, life = rng.uniform(-3, hours), rng.uniform(3, 8)
        y, x = rng.uniform(-4, shape[0] + 4), rng.uniform(-10, shape[1])
        dy, dx = rng.normal(-0.7, 0.6), rng.normal(2.5, 0.8)
        size, peak = rng.uniform(1.2, 3.0), min(rng.lognormal(1.8, 1.0), 60.0)
        for hour in range(max(int(birth), 0), min(int(birth + life) + 1, hours)):
            for age in hour + (np.arange(6) + 0.5) / 6 - birth:
                if 0 < age < life:
                    distance = (rows - y - dy * age) ** 2 + (columns - x - dx * age) ** 2
                    strength = peak * np.sin(np.pi * age / life)
                    rain[hour] += strength * np.exp(-distance / (2 * size**2)) / 6
    return np.where(rain < 0.05, 0.0, rain.round(2)).astype(np.float32)


def _write_rain(
    path: Path,
    rain: np.ndarray,
    first_end: np.datetime64 = FIRST_END,
    *,
    step_minutes: int = 60,
    long_name: str | None = "rain of the interval ending at time",
    south: float = 30.0,
) -> Path:
    """Write rain (time, H, W) in mm, NaN where missing, as NetCDF with regular intervals.

    Args:
        path: the file to make.
        rain: amounts, north row first.
        first_end: end of the first interval, UTC.
        step_minutes: length of an interval.
        long_name: says what a time stamp marks; None leaves it open.
        south: latitude of the southern row, degrees; the spacing is 0.1.
    """
    steps = np.arange(len(rain)) * np.timedelta64(step_minutes, "m")
    height, width = rain.shape[1:]
    attrs = {"units": "mm"} | ({"long_name": long_name} if long_name else {})
    xr.Dataset(
        {"rain": (("time", "lat", "lon"), rain, attrs)},
        {
            "time": (first_end + steps).astype("datetime64[ns]"),
            "lat": ("lat", south + 0.1 * np.arange(height)[::-1], {"units": "degrees_north"}),
            "lon": ("lon", 130.0 + 0.1 * np.arange(width), {"units": "degrees_east"}),
        },
    ).to_netcdf(path, engine="h5netcdf")
    return path


def _tiny_config(file: Path, folder: Path) -> RainConfig:
    return RainConfig(
        run={"name": "tiny", "dir": folder / "runs"},
        data={
            "files": [str(file)],
            "store": folder / "store",
            "splits": {
                "train": ["2023-05-30/2023-06-01"],
                "validation": ["2023-06-02/2023-06-02"],
                "test": ["2023-06-03/2023-06-03"],
            },
        },
        model={
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [1, 2],
            "window_size": 2,
            "patch_size": 2,
            "drop_path": 0.0,
        },
        train={"epochs": 2, "batch_size": 4, "lr": 1e-3, "workers": 0, "devices": 1},
        plots={"cases": 1, "video": False},
    )


@pytest.fixture(scope="session")
def moving_rain():
    """The generator `_moving_rain`."""
    return _moving_rain


@pytest.fixture(scope="session")
def write_rain():
    """The writer `_write_rain`."""
    return _write_rain


@pytest.fixture
def saved(tmp_path):
    """Write a dataset and return its path."""

    def write(ds, encoding=None, **options):
        path = tmp_path / f"rain{len(list(tmp_path.iterdir()))}.nc"
        ds.to_netcdf(path, engine=options.pop("engine", "h5netcdf"), encoding=encoding, **options)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_rain():
    """The numbers in ``tiny_rain_file``: (120, 24, 32), mm, without missing cells; read only."""
    rain = _moving_rain()
    rain.flags.writeable = False
    return rain


@pytest.fixture(scope="session")
def tiny_rain_file(tmp_path_factory, tiny_rain):
    """NetCDF of five days of hourly rain; read only."""
    return _write_rain(tmp_path_factory.mktemp("rain") / "tiny.nc", tiny_rain)


@pytest.fixture(scope="session")
def tiny_config_in(tiny_rain_file):
    """Make the configuration of ``tiny_config`` for another folder, for shared fixtures."""
    return lambda folder: _tiny_config(tiny_rain_file, folder)


@pytest.fixture
def tiny_config(tiny_rain_file, tmp_path):
    """A run on ``tiny_rain_file`` with a network that trains in seconds; writes in tmp_path only.

    The store is not there yet: call ``prepare(tiny_config)``, or use ``tiny_store``.
    """
    return _tiny_config(tiny_rain_file, tmp_path)


@pytest.fixture(scope="session")
def tiny_store(tiny_rain_file, tmp_path_factory):
    """The prepared store of ``tiny_config``; read only."""
    return prepare(_tiny_config(tiny_rain_file, tmp_path_factory.mktemp("store")))


@pytest.fixture
def static_file(tmp_path, tiny_store):
    """Orography around the grid of ``tiny_store``."""
    # Not at the top of this file: torch takes seconds, and most tests here need none.
    from option_networks import write_orography

    return write_orography(tmp_path / "orography.nc", tiny_store)


@pytest.fixture
def build(tiny_config, tiny_store):
    """Make a network for changed settings of ``tiny_config``: build(model__tau=2.0)."""
    from option_networks import build_network

    return partial(build_network, tiny_config, tiny_store)


@pytest.fixture(scope="module")
def fields():
    """Random rain of seven windows and two splits of it; read only."""
    return Fields()


@pytest.fixture(scope="module")
def scores(fields):
    """The scores of ``fields``."""
    return fields.scores()


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs ``tenkizu ARGUMENTS`` in this process: exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tenkizu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call

"""The shipped model: it is listed, splits a file nobody prepared for it, and scores as its card."""

import re

import numpy as np
import pytest
import xarray as xr

from tenkizu.core.checkpoint import find_model, shipped_models
from tenkizu.core.samples import input_path
from tenkizu.rain.hourly import iterate_windows, open_rain, window_starts
from tenkizu.rain.model import RainModel
from tenkizu.rain.preparation import to_rain

NAME = "rain-only"


@pytest.fixture
def metres(tmp_path, moving_rain):
    """3-hour totals as a weather model might give them, and the same in mm, north row first."""
    hourly = moving_rain(24, (60, 72), seed=8)
    totals = hourly.reshape(8, 3, 60, 72).sum(axis=1)
    attrs = {"units": "m", "long_name": "total precipitation"}
    ends = np.datetime64("2024-07-01T03", "ns") + np.arange(8) * np.timedelta64(3, "h")
    dataset = xr.Dataset(
        {"tp": (("valid_time", "latitude", "longitude"), totals[:, ::-1] / 1000, attrs)},
        {
            "valid_time": ("valid_time", ends, {"standard_name": "time"}),
            "latitude": ("latitude", -20 + 0.05 * np.arange(60), {"units": "degrees_north"}),
            "longitude": ("longitude", 20 + 0.05 * np.arange(72), {"units": "degrees_east"}),
        },
    )
    path = tmp_path / "totals.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path, totals


def test_it_ships_small_and_with_its_card():
    folder = shipped_models()[NAME]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
    card = (folder / "MODEL_CARD.md").read_text()
    assert RainModel.load(NAME, device="cpu").weights_hash in card


def test_the_command_lists_and_describes_it(command):
    code, out, _ = command("models")
    assert code == 0
    assert re.search(rf"{NAME}\s+rain\s+[\d,]+ parameters", out)
    code, out, err = command("models", NAME)
    assert code == 0, err
    for word in ("knmi_radar", "msg_crr", "radolan_rw", "radolan_yw", "imerg", "M5"):
        assert word in out


def test_it_splits_a_file_in_other_units_and_names(command, metres, tmp_path):
    path, totals = metres
    output = tmp_path / "hours.nc"
    code, out, err = command("rain", "predict", NAME, path, "-o", output)
    assert code == 0, err
    assert str(output) in out
    with xr.open_dataset(output) as hours:
        assert dict(hours.sizes)["time"] == 24
        # The rows keep the order of the file, south first.
        assert hours.latitude[0] < hours.latitude[-1]
        rain = hours.rain_1h.values[:, ::-1]
        first = hours.time.values[0]
    assert first == np.datetime64("2024-07-01T01", "ns")
    np.testing.assert_allclose(rain.reshape(8, 3, 60, 72).sum(axis=1), totals, rtol=1e-4, atol=1e-4)
    assert (rain >= 0).all()
    # Where there is rain, its hours are not all a third.
    assert np.abs(rain.reshape(8, 3, 60, 72) - totals[:, None] / 3).max() > 0.5


def test_its_card_tells_its_skill_on_days_it_never_saw():
    card = (find_model(NAME) / "MODEL_CARD.md").read_text()
    told = re.search(r"^\| IMERG, 2-3 November 2023 \| 16 \| ([\d.]+)", card, re.MULTILINE)
    model = RainModel.load(NAME, device="cpu")
    error = reference = 0.0
    with open_rain(input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")) as series:
        for window in iterate_windows(series, window_starts(series)):
            predicted = model.split(to_rain(window), window.start, series.grid)
            scored = window.total >= np.float32(0.1)
            truth = window.hours[:, scored].astype(np.float64)
            error += ((predicted[:, scored] - truth) ** 2).sum()
            reference += ((window.total[scored] / 3.0 - truth) ** 2).sum()
    assert 1 - error / reference == pytest.approx(float(told[1]), abs=1e-3)

"""Several MSM initial times, some of which cannot be read: the others become hours."""

from datetime import datetime

import numpy as np
import pytest
import torch
import xarray as xr
from jma_files import Weather, msm_name, write_archive, write_operational
from PIL import Image

from tenkizu.core.errors import DataError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain import film, predict, video
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import ModelConfig
from tenkizu.rain.model import Disaggregator, RainModel, export
from tenkizu.rain.msm.grib import fields_of

FIRST, CUT, LAST, MISFILED = (datetime(2018, 7, 5, hour) for hour in (3, 6, 9, 12))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with random weights that needs a field of the MSM."""
    torch.manual_seed(3)
    shape = ModelConfig(
        embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=5, patch_size=4,
        full_resolution_skip=False,
    )  # fmt: skip
    scales = [ChannelScale("U850_ft3", "m s-1", std=10.0), ChannelScale("S", "mm", "log1p")]
    folder = tmp_path_factory.mktemp("model")
    details = {
        "name": "windy",
        "climatology": Climatology.empty().to_json(),
        "config": {"data": {}, "plots": {}},
        "spacing_range_km": [4.6, 5.6],
    }
    return export(folder / "model", Disaggregator(shape, scales), shape, details)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Two initial times, one in each layout."""
    folder = tmp_path_factory.mktemp("good")
    write_operational(folder, FIRST, Weather(), only_needed=True)
    write_archive(folder, LAST, Weather(), only_needed=True)
    return folder


@pytest.fixture(scope="module")
def some_bad(good, tmp_path_factory):
    """The same with two more: one whose download broke off, and one under a wrong name."""
    folder = tmp_path_factory.mktemp("bad")
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for part in ("Lsurf_FH00-15", "L-pall_FH00-15"):
        content = (good / msm_name(FIRST, part)).read_bytes()
        (folder / msm_name(CUT, part)).write_bytes(content[: len(content) // 2])
        (folder / msm_name(MISFILED, part)).write_bytes(content)
    return folder


def split_counted(monkeypatch):
    """Count what the real network is asked for."""
    starts = []
    split = RainModel.split

    def counting(self, rain, start, *args, **options):
        starts.append(start)
        return split(self, rain, start, *args, **options)

    monkeypatch.setattr(RainModel, "split", counting)
    return starts


def test_the_others_are_written_and_those_left_out_are_named(
    model, good, some_bad, tmp_path, monkeypatch, caplog
):
    starts = split_counted(monkeypatch)
    with pytest.raises(DataError) as caught:
        predict(model, some_bad, tmp_path / "hours.nc", picture=tmp_path / "map.png")
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert "2 of 4 initial times could not be split" in message
    assert f"{tmp_path / 'hours.nc'} holds the others" in message
    for hour, t0 in (("06", CUT), ("12", MISFILED)):
        [line] = [line for line in message.splitlines() if f"2018-07-05T{hour} UTC: " in line]
        assert msm_name(t0, "Lsurf_FH00-15") in line
        assert f"2018-07-05T{hour} UTC is left out" in caplog.text
    assert (tmp_path / "map.png").exists()
    assert len(starts) == 2
    whole = predict(model, good, tmp_path / "whole.nc")
    with (
        xr.open_dataset(tmp_path / "hours.nc", engine="h5netcdf") as some,
        xr.open_dataset(whole, engine="h5netcdf") as every,
    ):
        assert some.drop_attrs().identical(every.drop_attrs())
        assert some.sizes == {"time": 6, "window": 2, "lat": 480, "lon": 480, "bounds": 2}
        ends = [f"2018-07-05T{hour:02d}:00" for hour in (7, 8, 9, 13, 14, 15)]
        np.testing.assert_array_equal(some.time, np.array(ends, "datetime64[ns]"))
        references = np.repeat(np.array(["2018-07-05T03", "2018-07-05T09"], "datetime64[ns]"), 3)
        np.testing.assert_array_equal(some.forecast_reference_time, references)
        np.testing.assert_array_equal(some.window_bnds[:, 1], some.time[2::3])
        assert float(some.rain_1h.max()) > 1


def test_grib_output_and_film_leave_them_out_too(model, some_bad, tmp_path):
    reel = tmp_path / "film.gif"
    with pytest.raises(DataError, match="2 of 4 initial times"):
        predict(model, some_bad, tmp_path / "hours.grib2", film=reel)
    references = [one.reference for one in fields_of(tmp_path / "hours.grib2")]
    t0 = [np.datetime64("2018-07-05T03"), np.datetime64("2018-07-05T09")]
    assert references == [t0[0]] * 3 + [t0[1]] * 3
    with Image.open(reel) as shown:
        assert shown.n_frames == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["film.gif", "hours.grib2"]


def test_a_film_alone_leaves_them_out_in_the_same_words(model, some_bad, tmp_path, monkeypatch):
    drawn = []

    def draw(path, grid, start, *_, **__):
        drawn.append(start)
        Image.new("RGB", (40, 20), (0, 0, 100 * len(drawn))).save(path)
        return path

    monkeypatch.setattr(film, "draw_panels", draw)
    with pytest.raises(DataError) as caught:
        video(model, some_bad, tmp_path / "film.gif")
    words = f"2 of 4 initial times could not be split: {tmp_path / 'film.gif'} holds the others"
    assert words in str(caught.value)
    assert "2018-07-05T06 UTC: " in str(caught.value)
    assert drawn == [np.datetime64("2018-07-05T06"), np.datetime64("2018-07-05T12")]
    bad = [some_bad / msm_name(t0, "Lsurf_FH00-15") for t0 in (CUT, MISFILED)]
    with pytest.raises(DataError, match=r"2 of 2 initial times.*: nothing was written"):
        video(model, bad, tmp_path / "none.gif")
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]


def test_when_none_can_be_read_nothing_is_written(model, some_bad, tmp_path):
    bad = [some_bad / msm_name(t0, "Lsurf_FH00-15") for t0 in (CUT, MISFILED)]
    output = tmp_path / "hours.nc"
    with pytest.raises(DataError, match=r"2 of 2 initial times.*: nothing was written"):
        predict(model, bad, output, picture=tmp_path / "map.png", film=tmp_path / "film.gif")
    # One that is asked for alone is refused in its own words.
    with pytest.raises(DataError) as caught:
        predict(model, bad[:1], output)
    assert "left out" not in str(caught.value)
    assert "could not be split" not in str(caught.value)
    assert bad[0].name in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_command_ends_with_3(model, some_bad, tmp_path, command):
    output = tmp_path / "hours.nc"
    code, _, error = command("rain", "predict", model, some_bad, "-o", output)
    assert code == 3
    assert "2018-07-05T06 UTC" in error
    assert output.exists()

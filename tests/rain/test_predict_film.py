"""Hours, map and film of one prediction: every window is read and split once."""

from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from option_networks import export_network
from PIL import Image

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain import cases, film, predict, video
from tenkizu.rain.model import Disaggregator


@pytest.fixture
def model(tiny_config, tiny_store, tmp_path):
    """A model folder with random weights."""
    return export_network(tmp_path / "model", tiny_config, tiny_store)


@pytest.fixture
def data(tmp_path, write_rain, tiny_rain):
    """Four windows of hourly rain, the second one dry."""
    rain = np.array(tiny_rain[30:42])
    rain[3:6] = 0
    return write_rain(tmp_path / "rain.nc", rain, np.datetime64("2023-06-01T01:00"))


@pytest.fixture
def counted(monkeypatch):
    """What is asked of the real reader and the real network, in order."""
    events = []
    read, forward = cases.read_window, Disaggregator.split

    def reading(series, start, member):
        events.append("read")
        return read(series, start, member)

    def splitting(self, *args, **options):
        events.append("split")
        return forward(self, *args, **options)

    monkeypatch.setattr(cases, "read_window", reading)
    monkeypatch.setattr(Disaggregator, "split", splitting)
    return events


@pytest.fixture
def drawn(monkeypatch):
    """Prediction and truth of each picture; to save time the picture is one colour."""
    calls = []

    def draw(path, grid, start, predicted, truth, **options):
        calls.append((predicted, truth))
        Image.new("RGB", (40, 20), (0, 0, 255)).save(path)
        return path

    monkeypatch.setattr(film, "draw_panels", draw)
    return calls


def frames(path):
    with Image.open(path) as shown:
        return [
            np.asarray(shown.convert("RGB")) for i in range(shown.n_frames) if not shown.seek(i)
        ]


def test_each_window_is_read_and_split_once(model, data, tmp_path, counted):
    output, made, picture = (tmp_path / name for name in ("hours.nc", "film.gif", "map.png"))
    seen = []

    def track(items, description):
        for item in items:
            seen.append(description)
            yield item

    predict(model, data, output, track=track, picture=picture, film=made)
    assert counted == ["read", "split"] * 4
    assert seen == ["predicting"] * 4 + ["drawing film"] * 4
    # The film is that of `video`, which reads and splits by itself.
    alone = video(model, data, tmp_path / "alone.gif")
    assert len(counted) > 8
    assert made.read_bytes() == alone.read_bytes()
    assert len(frames(made)) == 4
    # And nothing else is left.
    names = {"hours.nc", "film.gif", "map.png", "alone.gif", "model", "rain.nc"}
    assert {file.name for file in tmp_path.iterdir()} == names


def test_a_film_of_totals_shows_no_truth(model, tmp_path, write_rain, tiny_rain, drawn):
    totals = np.array(tiny_rain[30:42]).reshape(4, 3, 24, 32).sum(axis=1)
    first = np.datetime64("2023-06-01T03:00")
    file = write_rain(tmp_path / "totals.nc", totals, first, step_minutes=180)
    output = predict(model, file, tmp_path / "hours.nc", film=tmp_path / "film.gif")
    assert [truth for _, truth in drawn] == [None] * 4
    with xr.open_dataset(output, engine="h5netcdf") as result:
        hours = result.rain_1h.values.reshape(4, 3, 24, 32)
    np.testing.assert_array_equal(np.stack([predicted for predicted, _ in drawn]), hours)


def test_a_film_that_fails_does_not_cost_the_hours(model, data, tmp_path, monkeypatch):
    def full(*_):
        raise DataError("no room", file="film")

    monkeypatch.setattr(film, "write_gif", full)
    output = tmp_path / "hours.nc"
    with pytest.raises(DataError, match="no room"):
        predict(model, data, output, film=tmp_path / "film.gif")
    assert output.exists()
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_a_wrong_name_is_refused_before_anything_is_done(model, data, tmp_path, counted):
    with pytest.raises(ConfigError, match=r"film\.avi.*expected \.mp4 or \.gif"):
        predict(model, data, tmp_path / "hours.nc", film=tmp_path / "film.avi")
    assert not counted
    assert not (tmp_path / "hours.nc").exists()


@pytest.mark.parametrize("encoder", [None, "ffmpeg"])
def test_the_command_says_what_it_wrote(
    model, data, tmp_path, monkeypatch, command, encoder, counted, drawn
):
    def record(path, pictures, program, fps):
        pages = [Image.open(BytesIO(picture)).size for picture in pictures]
        path.write_text(f"{program} {len(pages)} {len(set(pages))}")

    monkeypatch.setattr(film, "find_encoder", lambda: encoder)
    monkeypatch.setattr(film, "write_mp4", record)
    output = tmp_path / "hours.nc"
    words = ("-o", output, "--film", tmp_path / "film.mp4")
    code, said, _ = command("rain", "predict", model, data, *words)
    assert code == 0
    made = tmp_path / ("film.mp4" if encoder else "film.gif")
    assert f"written:{output}written:{made}" in "".join(said.split())
    assert counted.count("split") == len(drawn) == 4
    if encoder:
        assert made.read_text() == "ffmpeg 4 1"
    else:
        assert len(frames(made)) == 4

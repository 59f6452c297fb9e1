"""Rain in several GRIB2 files, some of which are damaged: the others become hours, and a film."""

from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from jma_bytes import FieldSpec, message
from jma_products import SMALL, smooth_rain
from PIL import Image

from tenkizu.core.errors import DataError
from tenkizu.rain import film, predict, video

T0 = datetime(2024, 7, 5, 6)
SHAPE = (SMALL.nj, SMALL.ni)
STEP = 1 / 16
ENDS = (3, 6, 9, 12, 15)


def rain_file(folder, end, values=None, start=None, members=()):
    """Rain of the three hours before ``end``, or since ``start``: one file."""
    start = end - 3 if start is None else start
    values = smooth_rain(SMALL, end) if values is None else values
    common = {"grid": SMALL, "start": start, "length": end - start, "step": STEP}
    fields = [
        FieldSpec(values + member, 1, 8, template=11, member=member, **common) for member in members
    ] or [FieldSpec(values, 1, 8, template=8, **common)]
    folder.mkdir(exist_ok=True)
    path = folder / f"rain_{end:02d}.grib2"
    path.write_bytes(message(fields, T0))
    return path


def cut(path):
    """A download that broke off."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 100])
    return path


def opened(path):
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def window_ends(dataset):
    """Hours after T0."""
    return ((dataset.window - np.datetime64(T0, "ns")) / np.timedelta64(1, "h")).values.tolist()


@pytest.fixture(scope="module")
def some_bad(tmp_path_factory):
    """Five files of three hours; the third broke off."""
    folder = tmp_path_factory.mktemp("rain") / "in"
    files = [rain_file(folder, end) for end in ENDS]
    cut(files[2])
    return files


@pytest.fixture
def drawn(monkeypatch):
    """The windows that are drawn; to save time each picture is one colour."""
    starts = []

    def draw(path, grid, start, *_, **__):
        starts.append(start)
        Image.new("RGB", (40, 20), (0, 0, 250 - 20 * len(starts))).save(path)
        return path

    monkeypatch.setattr(film, "draw_panels", draw)
    return starts


def test_windows_beside_a_damaged_file_have_no_p_or_n_and_are_else_right(
    some_bad, tmp_path, caplog
):
    output = tmp_path / "hours.nc"
    with pytest.raises(DataError) as caught:
        predict("rain-only", some_bad, output)
    message = str(caught.value)
    assert f"1 of 5 files could not be split: {output} holds the others" in message
    [line] = [line for line in message.splitlines() if line.startswith("  rain_09.grib2: ")]
    assert "cut off" in line
    assert "rain_09.grib2 is left out" in caplog.text
    result = opened(output)
    assert window_ends(result) == [3, 6, 12, 15]
    # The same as from the files before and from those after it, each on their own.
    for name, files, windows in (("a", some_bad[:2], slice(2)), ("b", some_bad[3:], slice(2, 4))):
        alone = opened(predict("rain-only", files, tmp_path / f"{name}.nc"))
        np.testing.assert_array_equal(alone.rain_3h, result.rain_3h[windows])
        hours = slice(3 * windows.start if windows.start else 0, 3 * windows.stop)
        np.testing.assert_array_equal(alone.rain_1h, result.rain_1h[hours])


def test_nothing_is_taken_of_a_file_that_is_damaged_further_on(tmp_path):
    whole, half, good = (rain_file(tmp_path / "in", end) for end in (3, 6, 9))
    half.write_bytes(whole.read_bytes() + half.read_bytes()[:-100])
    whole.unlink()
    with pytest.raises(DataError, match="1 of 2 files could not be split"):
        predict("rain-only", [half, good], tmp_path / "hours.nc")
    assert window_ends(opened(tmp_path / "hours.nc")) == [9]


def test_totals_since_the_initial_time_are_not_differenced_over_a_gap(tmp_path):
    """Without the total of six hours neither hours 4 to 6 nor 7 to 9 are known."""
    since, files = np.zeros(SHAPE), []
    for end in (3, 6, 9, 12):
        since = since + smooth_rain(SMALL, end)
        files.append(rain_file(tmp_path / "in", end, since, start=0))
    cut(files[1])
    with pytest.raises(DataError, match="1 of 4 files could not be split"):
        predict("rain-only", tmp_path / "in", tmp_path / "hours.nc")
    result = opened(tmp_path / "hours.nc")
    assert window_ends(result) == [3, 12]
    for given, end in zip(result.rain_3h.values, (3, 12), strict=True):
        np.testing.assert_allclose(given, smooth_rain(SMALL, end), atol=2 * STEP)


def test_a_field_that_is_damaged_costs_its_window_alone(tmp_path):
    """The sections of the second file are whole, but its rain is not possible."""
    folder = tmp_path / "in"
    absurd = smooth_rain(SMALL, 6)
    absurd[3, 4] = 5000.0
    files = [rain_file(folder, end, absurd if end == 6 else None) for end in ENDS[:3]]
    cut(rain_file(folder, 12))
    with pytest.raises(DataError) as caught:
        predict("rain-only", folder, tmp_path / "hours.nc")
    message = str(caught.value)
    assert "1 of 4 files and 1 of 3 windows could not be split" in message
    assert f"  2024-07-05T09:00 UTC: {files[1]}" in message
    assert "more rain than can fall" in message
    result = opened(tmp_path / "hours.nc")
    assert window_ends(result) == [3, 9]
    first = opened(predict("rain-only", files[0], tmp_path / "first.nc"))
    np.testing.assert_array_equal(first.rain_1h, result.rain_1h[:3])


def test_all_members_of_a_window_are_left_out_together(tmp_path):
    folder = tmp_path / "in"
    for end in ENDS[:3]:
        # Each member has 1 mm more than the one before.
        values = np.full(SHAPE, 999.5 if end == 6 else 2.0)
        rain_file(folder, end, values, members=(0, 1, 2))
    for name in ("hours.nc", "hours.grib2"):
        with pytest.raises(DataError, match=r"1 of 3 windows could not be split"):
            predict("rain-only", folder, tmp_path / name)
    result = opened(tmp_path / "hours.nc")
    assert window_ends(result) == [3, 9]
    np.testing.assert_allclose(result.rain_3h[:, :, 0, 0], [[2.0, 3.0, 4.0]] * 2)
    again = opened(predict("rain-only", tmp_path / "hours.grib2", tmp_path / "again.nc"))
    np.testing.assert_allclose(again.rain_3h, result.rain_3h, rtol=1e-5)


def test_a_member_whose_file_is_damaged_is_not_there(tmp_path):
    for member in (0, 1, 2):
        path = rain_file(tmp_path / f"{member}", 3, members=(member,))
    cut(tmp_path / "1" / path.name)
    files = [tmp_path / f"{member}" / path.name for member in (0, 1, 2)]
    with pytest.raises(DataError, match=r"1 of 3 files could not be split.*\n.*/1/rain_03"):
        predict("rain-only", files, tmp_path / "hours.nc")
    result = opened(tmp_path / "hours.nc")
    assert result.member.values.tolist() == [0, 2]
    np.testing.assert_allclose(result.rain_3h[0, 1] - result.rain_3h[0, 0], 2.0, atol=2 * STEP)


def test_a_damaged_file_alone_and_damaged_files_only_are_errors(some_bad, tmp_path):
    output = tmp_path / "hours.nc"
    with pytest.raises(DataError) as caught:
        predict("rain-only", some_bad[2], output)
    assert "cut off" in str(caught.value)
    assert "could not be split" not in str(caught.value)
    other = cut(rain_file(tmp_path / "in", 6))
    with pytest.raises(DataError, match="2 of 2 files could not be split: nothing was written"):
        predict("rain-only", [some_bad[2], other], output)
    # Where the others fill no window the message says both.
    hour = rain_file(tmp_path / "in", 2, start=1)
    with pytest.raises(DataError) as caught:
        predict("rain-only", [some_bad[2], hour], output)
    assert "1 of 2 files could not be split: nothing was written" in str(caught.value)
    assert "  the others: " in str(caught.value)
    assert "no complete window" in str(caught.value)
    absurd = [rain_file(tmp_path / "absurd", end, np.full(SHAPE, 5000.0)) for end in (3, 6)]
    with pytest.raises(DataError, match="2 of 2 windows could not be split: nothing was written"):
        predict("rain-only", absurd, output)
    assert not output.exists()


def test_a_film_shows_the_others(some_bad, tmp_path, drawn, caplog):
    path = tmp_path / "film.gif"
    with pytest.raises(DataError) as caught:
        video("rain-only", some_bad, path)
    assert f"1 of 5 files could not be split: {path} holds the others" in str(caught.value)
    assert "rain_09.grib2 is left out" in caplog.text
    hours = [int((start - np.datetime64(T0, "h")) / np.timedelta64(1, "h")) for start in drawn]
    assert hours == [0, 3, 9, 12]
    with Image.open(path) as shown:
        assert shown.n_frames == 4


@pytest.mark.parametrize("vmax", [None, 50.0])
def test_a_film_of_nothing_is_not_written(tmp_path, drawn, vmax):
    absurd = [rain_file(tmp_path / "in", end, np.full(SHAPE, 5000.0)) for end in (3, 6)]
    with pytest.raises(DataError, match="2 of 2 windows could not be split: nothing was written"):
        video("rain-only", absurd, tmp_path / "film.gif", vmax_mm=vmax)
    assert not list(tmp_path.glob("film*"))
    with pytest.raises(DataError, match="more rain than can fall"):
        video("rain-only", absurd[0], tmp_path / "film.gif", vmax_mm=vmax)


@pytest.mark.parametrize(("name", "made"), [("predict", "hours.nc"), ("video", "film.gif")])
def test_the_commands_end_with_3(some_bad, tmp_path, drawn, command, name, made):
    output = tmp_path / made
    code, _, error = command("rain", name, "rain-only", *some_bad, "-o", output)
    assert code == 3
    assert "rain_09.grib2" in error
    assert output.exists()

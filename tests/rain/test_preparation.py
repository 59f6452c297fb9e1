"""From rain files to a sample store: contents, statistics, refusals."""

from collections import Counter

import hdf5plugin  # noqa: F401  (lets xarray read the shipped samples)
import numpy as np
import pytest
import xarray as xr
from rain_stores import THREE, at, changed, contents, windows

from tenkizu.core.config import load_config
from tenkizu.core.errors import DataError
from tenkizu.core.periods import SplitsConfig
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.core.stats import Moments
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.config import RainConfig
from tenkizu.rain.hourly import Window
from tenkizu.rain.preparation import prepare, to_rain

# ---------------------------------------------------------------------------- real rain


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The store of the shipped demo configuration."""
    folder = tmp_path_factory.mktemp("demo")
    # Without the hours of the motion baseline, which have a test of their own.
    quick = [f"data.store={folder / 'store'}", "data.context=[s,p,n]", "model.prior=linear"]
    return prepare(load_config(RainConfig, shipped_configs()["rain_demo"], quick))


def test_demo_counts(demo):
    assert Counter(demo.meta["splits"]) == {"train": 45, "validation": 15, "test": 16}
    starts = np.array(demo.meta["starts"], "datetime64[m]")
    assert (np.diff(starts) > 0).all()
    november = starts[starts >= at("2023-11-11T00")]
    # 64 windows in eight days, two of them in a gap of the file; two more beside the border.
    left_out = sorted(set(windows("2023-11-11T00", 64)) - set(november.tolist()))
    assert [str(t) for t in np.array(left_out, "datetime64[h]")] == [
        "2023-11-14T21",
        "2023-11-15T00",
        "2023-11-16T21",
        "2023-11-17T00",
    ]


def test_demo_arrays_are_sums_of_the_hours_in_the_file(demo):
    with xr.open_dataset(
        input_path("sample:imerg_sbrazil_hourly_20231111_18.nc"), engine="h5netcdf"
    ) as file:
        # By their numbers, since the file's calendar is not one numpy knows.
        packed = file["precipitation_amount"].load()
        ends = np.array([str(t)[:16].replace(" ", "T") for t in file["time"].values], "M8[m]")
    hours = dict(zip(ends.tolist(), packed.to_numpy().astype(np.float64), strict=True))
    missing = np.full(packed.shape[1:], np.nan)

    def total(first):
        """Sum of the hours ending at +1, +2 and +3 h."""
        steps = np.arange(1, 4) * np.timedelta64(60, "m")
        return sum(hours.get((first + step).item(), missing) for step in steps)

    checked = 0
    for i, text in enumerate(demo.meta["starts"]):
        start = at(text)
        if start < at("2023-11-11T00"):
            continue
        rain = demo.read("rain", i)
        own = [hours[(start + k * np.timedelta64(60, "m")).item()] for k in (1, 2, 3)]
        expected = np.stack([total(start - THREE), *own, total(start), total(start + THREE)])
        np.testing.assert_allclose(rain, expected, rtol=2e-7, atol=1e-7)
        checked += 1
    assert checked == 60
    # Beside the gap a neighbour is missing, not zero.
    before_gap = demo.meta["starts"].index("2023-11-14T18:00")
    assert np.isnan(demo.read("rain", before_gap)[5]).all()
    assert np.isnan(demo.read("rain", before_gap + 1)[0]).all()


# ---------------------------------------------------------------------------- contents


def test_stored_arrays_are_the_numbers_of_the_file(tiny_store, tiny_rain):
    assert tiny_store.meta["arrays"]["rain"]["channels"] == ["P", "y4", "y5", "y6", "S", "N"]
    for i, text in enumerate(tiny_store.meta["starts"]):
        first = int((at(text) - at("2023-05-30T00")) / np.timedelta64(1, "h"))
        nine = np.full((9, 24, 32), np.nan)
        for k, hour in enumerate(range(first - 3, first + 6)):
            if 0 <= hour < 120:
                nine[k] = tiny_rain[hour]
        expected = np.stack([nine[:3].sum(0), *nine[3:6], nine[3:6].sum(0), nine[6:].sum(0)])
        np.testing.assert_array_equal(tiny_store.read("rain", i), expected.astype(np.float32))
    assert np.isnan(tiny_store.read("rain", 0)[0]).all()
    assert np.isnan(tiny_store.read("rain", len(tiny_store) - 1)[5]).all()


def test_splits_and_months_of_the_tiny_store(tiny_store):
    assert Counter(tiny_store.meta["splits"]) == {"train": 23, "validation": 6, "test": 7}
    blocks = tiny_store.meta["arrays"]["rain"]["blocks"]
    assert [(b["file"], b["first"], b["count"]) for b in blocks] == [
        ("rain_202305.npy", 0, 16),
        ("rain_202306.npy", 16, 20),
    ]


def test_statistics_are_those_of_the_training_windows(tiny_store):
    arrays, meta = contents(tiny_store)
    training = arrays[np.array(meta["splits"]) == "train"].astype(np.float64)
    columns = np.moveaxis(training, 1, 0).reshape(6, -1)
    statistics = meta["statistics"]
    for name, values in (("mm", columns), ("log1p_mm", np.log1p(columns))):
        found = statistics[name]
        np.testing.assert_allclose(found["mean"], np.nanmean(values, axis=1), rtol=1e-6)
        np.testing.assert_allclose(found["std"], np.nanstd(values, axis=1), rtol=1e-6)
        np.testing.assert_allclose(found["min"], np.nanmin(values, axis=1), rtol=1e-6)
        np.testing.assert_allclose(found["max"], np.nanmax(values, axis=1), rtol=1e-6)
        assert found["count"] == np.isfinite(values).sum(axis=1).tolist()
    assert statistics["quantile_levels"] == [0.01, 0.5, 0.99]
    # `prepare` reads the quantiles off fine bins, so a neighbouring order statistic may be meant.
    expected = np.nanquantile(columns, 0.99, axis=1)
    np.testing.assert_allclose(np.array(statistics["quantiles_mm"])[:, 2], expected, rtol=0.02)


def test_tables_are_kept_for_each_split_and_climatology_for_training(tiny_store):
    arrays, meta = contents(tiny_store)
    splits = np.array(meta["splits"])
    for split in ("train", "validation", "test"):
        table = Tally.from_json(meta["tables"][split])
        total = arrays[splits == split, 4]
        assert table["cells"].tolist() == [
            total.size,
            np.count_nonzero(total),
            np.count_nonzero(total >= np.float32(0.1)),
        ]
        assert table.maxima["total"] == total.max()
    climatology = Climatology.from_json(meta["climatology"])
    training = arrays[splits == "train"]
    for k in range(3):
        rainy = training[:, 4] >= np.float32(0.1)
        assert climatology.sums[..., k].sum() == pytest.approx(
            training[:, 1 + k][rainy].sum(dtype=np.float64), rel=1e-9
        )
    # t0 on 31 May is spring, on 1 June summer.
    assert (climatology.sums.sum(axis=(0, 2, 3)) > 0).tolist() == [False, True, True, False]


def test_other_splits_leave_no_trace_in_what_training_uses(
    tiny_store, tiny_config, tiny_rain, write_rain, tmp_path
):
    other = tiny_rain.copy()
    other[72:] = 3 * other[72:, ::-1, ::-1]  # from 2 June on
    file = write_rain(tmp_path / "other.nc", other)
    store = prepare(changed(tiny_config, files=[str(file)]))
    for name in ("statistics", "climatology", "starts", "splits", "grid"):
        assert store.meta[name] == tiny_store.meta[name]
    assert store.meta["tables"]["train"] == tiny_store.meta["tables"]["train"]
    assert store.meta["tables"]["validation"] != tiny_store.meta["tables"]["validation"]
    assert store.meta["tables"]["test"] != tiny_store.meta["tables"]["test"]


def test_missing_cells_stay_missing(tiny_config, tiny_rain, write_rain, tmp_path):
    holed = tiny_rain.copy()
    holed[:, :2, :3] = np.nan  # never observed
    holed[4, 20, 20] = np.nan  # the hour ending at 05 UTC, in the window 03-06
    file = write_rain(tmp_path / "holed.nc", holed)
    store = prepare(changed(tiny_config, files=[str(file)]))
    arrays, meta = contents(store)
    assert np.isnan(arrays[:, :, :2, :3]).all()
    cell = np.isnan(arrays[:3, :, 20, 20])
    # Windows from 00, 03 and 06 UTC: as N, as y5 and S, as P; the first window has no P.
    np.testing.assert_array_equal(
        cell,
        [[1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]],
    )
    table = Tally.from_json(meta["tables"]["train"])
    assert table["cells"][0] == 23 * (24 * 32 - 6) - 1
    assert Moments.from_json(meta["statistics"]["mm"]).count[4] == table["cells"][0]


def test_a_window_without_hours_is_stored_with_missing_hours():
    total = np.ones((2, 2), np.float32)
    rain = to_rain(Window(at("2020-01-01T00"), 2 * total, None, total, 3 * total))
    assert rain.dtype == np.float32
    assert np.isnan(rain[1:4]).all()
    assert rain[[0, 4, 5], 0, 0].tolist() == [2, 1, 3]


# ---------------------------------------------------------------------------- several files


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_neighbouring_files_give_what_one_file_gives(
    order, tiny_store, tiny_config, tiny_rain, write_rain, tmp_path
):
    pieces = [(0, 24), (24, 81), (81, 120)]
    files = [
        write_rain(
            tmp_path / f"piece{i}.nc",
            tiny_rain[first:last],
            np.datetime64("2023-05-30T01:00") + first * np.timedelta64(60, "m"),
        )
        for i, (first, last) in enumerate(pieces)
    ]
    store = prepare(changed(tiny_config, files=[str(files[i]) for i in order]))
    arrays, meta = contents(store)
    whole, expected = contents(tiny_store)
    np.testing.assert_array_equal(arrays, whole)
    for name in ("starts", "splits", "statistics", "tables", "climatology"):
        assert meta[name] == expected[name]
    assert meta["source"]["files"] == [files[i].name for i in order]


def test_a_window_in_two_files_is_refused(tiny_config, tiny_rain, write_rain, tmp_path):
    early = write_rain(tmp_path / "early.nc", tiny_rain[:60])
    late = write_rain(tmp_path / "late.nc", tiny_rain[57:], np.datetime64("2023-06-01T10:00"))
    with pytest.raises(DataError, match="a window is in two files") as caught:
        prepare(changed(tiny_config, files=[str(early), str(late)]))
    message = str(caught.value)
    assert "2023-06-01T09:00" in message
    assert "early.nc" in message
    assert "late.nc" in message


def test_grids_that_differ_are_refused(
    tiny_config, tiny_rain_file, tiny_rain, write_rain, tmp_path
):
    other = write_rain(
        tmp_path / "elsewhere.nc", tiny_rain[:24], np.datetime64("2023-07-01T01:00"), south=35.0
    )
    with pytest.raises(DataError, match="grid differs from the first file's") as caught:
        prepare(changed(tiny_config, files=[str(tiny_rain_file), str(other)]))
    message = str(caught.value)
    assert str(other) in message
    assert "found 24 x 32, lat 37.3..35" in message
    assert "expected 24 x 32, lat 32.3..30" in message
    assert not tiny_config.data.store.exists()


# ---------------------------------------------------------------------------- refusals


def test_a_split_without_windows_is_refused(tiny_config):
    splits = SplitsConfig(train=["2023-05-30/2023-06-01"], test=["2024-06-03/2024-06-03"])
    with pytest.raises(DataError, match="an empty split") as caught:
        prepare(changed(tiny_config, splits=splits))
    message = str(caught.value)
    assert "data.splits.test" in message
    assert "no complete window in 2024-06-03/2024-06-03" in message
    assert "periods within 2023-05-30T00:00 to 2023-06-04T00:00 UTC" in message


def test_a_split_that_is_only_guards_is_empty_too(tiny_config):
    splits = SplitsConfig(
        train=["2023-05-30/2023-05-31"], validation=["2023-06-01T00/2023-06-01T03"]
    )
    with pytest.raises(DataError, match=r"data\.splits\.validation: an empty split"):
        prepare(changed(tiny_config, splits=splits))


def test_three_hour_totals_cannot_train(tiny_config, tiny_rain, write_rain, tmp_path):
    totals = tiny_rain.reshape(40, 3, 24, 32).sum(axis=1)
    file = write_rain(
        tmp_path / "totals.nc", totals, np.datetime64("2023-05-30T03:00"), step_minutes=180
    )
    with pytest.raises(DataError, match="training needs hourly rain") as caught:
        prepare(changed(tiny_config, files=[str(file)]))
    assert "found 3-hour totals" in str(caught.value)
    assert "totals.nc: rain" in str(caught.value)


def test_time_stamps_must_be_stated(tiny_config, tiny_rain, write_rain, tmp_path):
    file = write_rain(tmp_path / "unsaid.nc", tiny_rain, long_name=None)
    silent = changed(tiny_config, files=[str(file)])
    with pytest.raises(DataError, match="start or the end of its interval") as caught:
        prepare(silent)
    assert "data.time_stamp" in str(caught.value)
    ends = prepare(changed(silent, time_stamp="end"))
    starts = prepare(changed(silent, time_stamp="start", store=tmp_path / "shifted"))
    # Taken as starts, the same numbers are an hour later.
    assert ends.meta["starts"][0] == "2023-05-30T00:00"
    np.testing.assert_array_equal(ends.read("rain", 0)[2:4], tiny_rain[1:3])
    first = starts.meta["starts"].index("2023-05-30T03:00")
    np.testing.assert_array_equal(starts.read("rain", first)[1:4], tiny_rain[2:5])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/rain.nc", "no such file"),
        ("sample:nothing.nc", "one of .*imerg_sbrazil_hourly_20231102_03.nc"),
    ],
)
def test_files_that_are_not_there(tiny_config, name, words):
    with pytest.raises(DataError, match=words):
        prepare(changed(tiny_config, files=[name]))

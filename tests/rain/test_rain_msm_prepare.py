"""Stores from monthly files of MSM forecasts: what is in them, what is refused, going on."""

import json
import shutil

import h5py
import numpy as np
import pytest
from msm_store import RAIN_NAMES, TIMES, make_fields, make_rain, write_month, write_months

from tenkizu.core.config import load_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import shipped_configs
from tenkizu.core.verification import Tally
from tenkizu.rain import prepare
from tenkizu.rain.config import RainConfig
from tenkizu.rain.fields import MSM24, field_pairs, units_of

CHANNELS = field_pairs(MSM24)
MONTHS = {
    "train": ("2018-07", "2019-06", "2020-01", "2021-12"),
    "validation": ("2022-01", "2022-08"),
    "test": ("2023-06", "2023-12"),
}
SPLITS = [
    f"data.splits.{split}=[{', '.join(f'{month}/{month}' for month in months)}]"
    for split, months in MONTHS.items()
]
ONE_MONTH = ["data.splits.train=[2018-07/2018-07]", "data.splits.validation=[]",
             "data.splits.test=[]"]  # fmt: skip


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """Folder of eight monthly files with one sample each, and their numbers; read only."""
    folder = tmp_path_factory.mktemp("monthly")
    return folder, *write_months(folder)


def recipe(folder, store, *overrides, name="rain_msm"):
    where = [f"data.msm.monthly_dir={folder}", f"data.store={store}", f"run.dir={store.parent}"]
    return load_config(RainConfig, shipped_configs()[name], [*where, *SPLITS, *overrides])


@pytest.fixture(scope="module")
def store(months, tmp_path_factory):
    """The store made from them; read only."""
    return prepare(recipe(months[0], tmp_path_factory.mktemp("prepared") / "store"))


@pytest.fixture
def one_month(tmp_path):
    """Makes the configuration of a folder with one file of two samples, changed by a function."""

    def make(change=None, *overrides, rain=None, fields=None, times=None):
        rng = np.random.default_rng(3)
        times = times or ["2018-07-05T03", "2018-07-06T00"]
        if fields is None:
            fields = np.stack([make_fields(rng, (20, 20)) for _ in times])
        if rain is None:
            rain = np.stack([make_rain(rng, (20, 20)) for _ in times])
        write_month(tmp_path / "in" / "201807.nc", times, fields, rain, change=change)
        return recipe(tmp_path / "in", tmp_path / "store", *ONE_MONTH, *overrides)

    return make


# ---------------------------------------------------------------------------- what is stored


def test_the_store_holds_the_numbers_of_the_files(months, store):
    _, fields, rain = months
    assert len(store) == 8
    assert store.meta["arrays"]["fields"]["channels"] == CHANNELS
    assert store.meta["arrays"]["fields"]["units"] == [units_of(c) for c in CHANNELS]
    assert store.meta["arrays"]["rain"]["channels"] == ["P", "y4", "y5", "y6", "S", "N"]
    for i in range(8):
        np.testing.assert_array_equal(store.read("fields", i), fields[i])
        np.testing.assert_array_equal(store.read("rain", i), rain[i])


def test_samples_are_split_by_t0_and_named_by_their_window(store):
    times = [np.datetime64(time, "m") for split in TIMES.values() for time in split]
    assert store.meta["starts"] == [str(time + np.timedelta64(180, "m")) for time in times]
    assert store.meta["splits"] == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2


def test_statistics_are_those_of_the_training_samples(months, store):
    _, fields, rain = months
    training = fields[:4].astype(np.float64).transpose(1, 0, 2, 3).reshape(48, -1)
    found = store.meta["statistics"]["fields"]
    np.testing.assert_allclose(found["mean"], training.mean(axis=1), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found["std"], training.std(axis=1), rtol=1e-9)
    np.testing.assert_array_equal(found["min"], training.min(axis=1))
    np.testing.assert_array_equal(found["max"], training.max(axis=1))
    assert found["count"] == [4 * 40 * 40] * 48
    levels = [0.01, 0.5, 0.99]
    exact = np.quantile(training, levels, axis=1, method="inverted_cdf").T
    # One part of 4096 of the range of each kind of field.
    steps = {"Pa": 7.4, "m s-1": 0.1, "K": 0.04, "%": 0.044, "gpm": 1.0}
    for name, quantile, expected in zip(CHANNELS, found["quantiles"], exact, strict=True):
        assert np.abs(quantile - expected).max() <= 0.51 * steps[units_of(name)], name
    amounts = rain[:4].astype(np.float64).transpose(1, 0, 2, 3).reshape(6, -1)
    np.testing.assert_allclose(store.meta["statistics"]["mm"]["mean"], amounts.mean(axis=1))


def test_tables_count_every_split_exactly(months, store):
    rain = months[2]
    parts = {"train": rain[:4], "validation": rain[4:6], "test": rain[6:]}
    for split, amounts in parts.items():
        tally = Tally.from_json(store.meta["tables"][split])
        hours, total = amounts[:, 1:4], amounts[:, 4]
        edges = np.array([-1, 1, 5, 10, 20, 30, 50, np.inf], np.float32)
        expected = [((hours >= a) & (hours < b)).sum() for a, b in zip(edges, edges[1:])]  # noqa: B905, RUF007
        assert tally["hourly"].dtype == np.int64
        assert tally["hourly"].tolist() == expected
        scored = total >= np.float32(0.1)
        assert tally["cells"].tolist() == [total.size, (total > 0).sum(), scored.sum()]


def test_a_file_without_n_gives_five_planes(one_month):
    rain = np.stack([make_rain(np.random.default_rng(i), (20, 20))[:5] for i in range(2)])
    store = prepare(one_month(None, "data.context=[s, p]", rain=rain))
    np.testing.assert_array_equal(store.read("rain", 1), rain[1])


def test_n_may_be_missing_for_a_time_as_a_whole(one_month):
    rng = np.random.default_rng(0)
    rain = np.stack([make_rain(rng, (20, 20)) for _ in range(2)])
    rain[1, 5] = np.nan
    store = prepare(one_month(rain=rain))
    assert np.isnan(store.read("rain", 1)[5]).all()
    np.testing.assert_array_equal(store.read("rain", 0), rain[0])


def test_only_the_named_fields_are_stored(one_month):
    store = prepare(one_month(None, "data.fields=[GH500, U850]"))
    names = ["GH500_ft3", "GH500_ft6", "U850_ft3", "U850_ft6"]
    assert store.meta["arrays"]["fields"]["channels"] == names
    assert store.read("fields", 0).shape == (4, 20, 20)


def test_rounding_below_0_is_dry(one_month):
    rng = np.random.default_rng(0)
    rain = np.stack([make_rain(rng, (20, 20)) for _ in range(2)])
    rain[0, 0, 3, 3] = -0.0005
    assert prepare(one_month(rain=rain)).read("rain", 0)[0, 3, 3] == 0


# ---------------------------------------------------------------------------- going on


def test_a_finished_store_is_opened_until_a_file_changes(one_month, tmp_path):
    config = one_month()
    first = prepare(config).meta

    def never(items, description):
        raise AssertionError(description)

    assert prepare(config, track=never).meta == first
    write_month(
        tmp_path / "in" / "201807.nc",
        ["2018-07-05T03"],
        np.stack([make_fields(np.random.default_rng(9), (20, 20))]),
        np.stack([make_rain(np.random.default_rng(9), (20, 20))]),
    )
    with pytest.raises(DataError, match="made from other settings or files"):
        prepare(config)
    assert len(prepare(config, overwrite=True)) == 1


@pytest.mark.parametrize("layout", ["full", "compact"])
@pytest.mark.parametrize("moment", ["rain of 202001", "fields of 202001"])
def test_finished_months_survive_an_interruption(months, tmp_path, store, layout, moment):
    config = recipe(months[0], tmp_path / "store", f"data.layout={layout}", "data.fields=[T850]")

    def stop(items, description):
        if description == moment:
            raise KeyboardInterrupt
        return items

    with pytest.raises(KeyboardInterrupt):
        prepare(config, track=stop)
    assert not (tmp_path / "store").exists()
    read = []

    def note(items, description):
        read.append(description)
        return items

    result = prepare(config, track=note)
    assert read[0] == moment
    assert len(result) == 8
    assert not list(tmp_path.glob("*.part"))
    np.testing.assert_array_equal(result.read("rain", 5), store.read("rain", 5))
    columns = [CHANNELS.index("T850_ft3"), CHANNELS.index("T850_ft6")]
    np.testing.assert_allclose(
        result.meta["statistics"]["fields"]["mean"],
        np.array(store.meta["statistics"]["fields"]["mean"])[columns],
    )


# ---------------------------------------------------------------------------- what is refused


def units(variable, text):
    def change(file):
        if text is None:
            del file[variable].attrs["units"]
        else:
            file[variable].attrs["units"] = text

    return change


def value(variable, number):
    def change(file):
        file[variable][1, 2, 3] = number

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (units("Prmsl_ft3", "hPa"), ("Prmsl_ft3", "hPa", "expected Pa")),
        (units("T850_ft6", "degC"), ("T850_ft6", "degC", "expected K")),
        (units("Prec_ft3", "m"), ("Prec_ft3", "found m", "expected mm")),
        (units("U850_ft3", None), ("U850_ft3", "some variables have units")),
        (value("R850_ft3", np.nan), ("R850_ft3", "row 2, column 3",
                                                             "2018-07-06T00")),
        (value("Prec_Target_ft5", np.inf), ("Prec_Target_ft5", "not finite")),
        (value("Prec_6_9h_sum", np.nan), ("Prec_6_9h_sum", "1 values are missing")),
        (value("Prec_ft3", -0.5), ("Prec_ft3", "negative rain", "-0.5 mm")),
        (value("Prec_4_6h_sum", 99.0), ("Prec_4_6h_sum", "do not add", "2018-07-06T00")),
    ],
)  # fmt: skip
def test_wrong_values_and_units_are_refused(one_month, change, words):
    with pytest.raises(DataError) as caught:
        prepare(one_month(change))
    for word in (*words, "201807.nc"):
        assert word in str(caught.value)


def test_a_missing_field_is_named(one_month):
    with pytest.raises(DataError, match="W700_ft3: no such variable"):
        prepare(one_month(None, "data.fields=[W700]"))


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["2018-07-05T03", "2018-08-01T00"], "2018-08-01T00"),
        (["2018-07-05T03", "2018-07-05T04"], "2018-07-05T04"),
        (["2018-07-05T03", "2018-07-05T03"], "not after"),
    ],
)
def test_times_must_be_steps_of_their_month_in_order(one_month, times, words):
    with pytest.raises(DataError, match=words):
        prepare(one_month(times=times))


def test_rows_from_the_south_are_refused(one_month):
    def turn(file):
        file["lat"][:] = file["lat"][:][::-1]

    with pytest.raises(DataError, match="the northern row and the western column first"):
        prepare(one_month(turn))


def test_rows_and_columns_in_the_other_order_are_refused(one_month, tmp_path):
    """On a square domain the shape does not show it."""
    config = one_month()
    with h5py.File(tmp_path / "in" / "201807.nc", "r+") as file:
        axes = file["T850_ft3"].dims
        for axis, old, new in ((1, "lat", "lon"), (2, "lon", "lat")):
            axes[axis].detach_scale(file[old])
            axes[axis].attach_scale(file[new])
    with pytest.raises(DataError, match=r"T850_ft3: dimensions not as .* found time, lon, lat"):
        prepare(config)


def test_files_of_other_programs(one_month, tmp_path, months):
    """Times in other units, attributes as bytes, no names of dimensions: all the same numbers."""
    config = one_month()
    with h5py.File(tmp_path / "in" / "201807.nc", "r+") as file:
        file["time"][:] -= 1_000
        file["time"].attrs["units"] = b"hours since 1970-02-11 16:00:00"
        for name in ("T850_ft3", "Prec_ft3"):
            del file[name].attrs["DIMENSION_LIST"]
            file[name].attrs["units"] = np.array([{"T": b"K", "P": b"kg m-2"}[name[0]]])
        expected = file["Prec_ft3"][:]
    store = prepare(config)
    assert store.meta["starts"] == ["2018-07-05T06:00", "2018-07-06T03:00"]
    np.testing.assert_array_equal([store.read("rain", i)[0] for i in range(2)], expected)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_named(one_month, tmp_path, part):
    config, path = one_month(), tmp_path / "in" / "201807.nc"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(DataError, match=r"201807\.nc: cannot be opened"):
        prepare(config)


def test_missing_months_are_listed(months, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(months[0], folder)
    (folder / "202001.nc").unlink()
    with pytest.raises(DataError, match=r"202001\.nc"):
        prepare(recipe(folder, tmp_path / "store"))
    # Whole years ask for the months between those that are there.
    with pytest.raises(DataError) as caught:
        prepare(recipe(months[0], tmp_path / "store", "data.splits.train=[2018/2021]"))
    assert "201808.nc, 201809.nc" in str(caught.value)
    assert "201806.nc" not in str(caught.value)


def test_an_empty_folder_and_an_empty_split_are_refused(months, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no monthly file"):
        prepare(recipe(tmp_path / "none", tmp_path / "store"))
    with pytest.raises(DataError, match=r"data\.splits\.test: an empty split"):
        prepare(recipe(months[0], tmp_path / "store", "data.splits.test=[2023-06-20/2023-06-20]"))


def test_another_grid_is_refused(months, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(months[0], folder)
    rng = np.random.default_rng(0)
    fields, rain = make_fields(rng, (40, 40))[None], make_rain(rng, (40, 40))[None]
    write_month(folder / "202208.nc", ["2022-08-03T12"], fields, rain, place=(241, 160))
    with pytest.raises(DataError, match=r"202208\.nc: the grid differs"):
        prepare(recipe(folder, tmp_path / "store"))


# ---------------------------------------------------------------------------- files scaled to 0-1


@pytest.fixture(scope="module")
def scaled(tmp_path_factory, months):
    """The monthly files as the reference program scales them, with its JSON; read only."""
    folder = tmp_path_factory.mktemp("scaled")
    _, fields, rain = months
    bounds = {
        base: (float(fields[:, 2 * i : 2 * i + 2].min()), float(fields[:, 2 * i : 2 * i + 2].max()))
        for i, base in enumerate(MSM24)
    }
    bounds["precip"] = (0.0, 599.4375)
    low, width = (
        np.array([f(bounds[name.rpartition("_")[0]]) for name in CHANNELS]).reshape(-1, 1, 1)
        for f in (lambda pair: pair[0], lambda pair: pair[1] - pair[0])
    )
    times = [time for split in TIMES.values() for time in split]
    for i, time in enumerate(times):
        month = time[:7].replace("-", "")
        smaller = ((fields[i] - low) / width).astype(np.float32)[None]
        amounts = (rain[i, :5] / 599.4375).astype(np.float32)[None]

        def without_units(file):
            for name in (*CHANNELS, *RAIN_NAMES[:5]):
                file[name].attrs["units"] = "1"

        write_month(folder / f"{month}.nc", [time], smaller, amounts, change=without_units)
    groups = {name: {"min": a, "max": b} for name, (a, b) in bounds.items()}
    (folder / "scaler_groups.json").write_text(json.dumps({"group_minmax": groups}))
    return folder


def altered_scaler(folder, path, change):
    content = json.loads((folder / "scaler_groups.json").read_text())
    change(content["group_minmax"])
    path.write_text(json.dumps(content))
    return f"data.scaler_file={path}"


IMPORT = ["data.context=[s, p]"]


def test_scaled_files_come_back_in_mm_and_units(scaled, months, tmp_path):
    scaler = f"data.scaler_file={scaled / 'scaler_groups.json'}"
    store = prepare(recipe(scaled, tmp_path / "store", scaler, *IMPORT))
    _, fields, rain = months
    for i in range(8):
        np.testing.assert_allclose(store.read("rain", i), rain[i, :5], rtol=1e-6, atol=1e-6)
        width = np.ptp(fields, axis=(0, 2, 3))[:, None, None]
        assert (np.abs(store.read("fields", i) - fields[i]) <= 3e-7 * width + 0.01).all()
    assert store.meta["arrays"]["fields"]["units"] == [units_of(c) for c in CHANNELS]
    assert store.meta["source"]["scaler_file"] == "scaler_groups.json"


def test_scaled_files_need_their_scaling(scaled, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare(recipe(scaled, tmp_path / "store", *IMPORT))
    assert "data.scaler_file" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.pop("precip"), "precip"),
        (lambda g: g.update(precip={"min": 5.0, "max": 5.0}), "these bounds cannot scale a group"),
        (lambda g: g.pop("U850"), r"group_minmax\.U850"),
        # Bounds of rain that was normalised before: nothing would reach 1 mm.
        (lambda g: g.update(precip={"min": 0.0, "max": 1.0}), "the data look normalised"),
    ],
)
def test_a_scaling_that_cannot_give_mm_is_refused_before_anything_is_written(
    scaled, tmp_path, change, words
):
    scaler = altered_scaler(scaled, tmp_path / "groups.json", change)
    with pytest.raises(DataError, match=words):
        prepare(recipe(scaled, tmp_path / "store", scaler, *IMPORT))
    assert not list(tmp_path.glob("*store*"))


def test_values_that_were_never_scaled_are_refused(one_month, scaled):
    def strip(file):
        for name in (*CHANNELS, *RAIN_NAMES):
            del file[name].attrs["units"]

    scaler = f"data.scaler_file={scaled / 'scaler_groups.json'}"
    with pytest.raises(DataError, match="not scaled to 0-1, though"):
        prepare(one_month(strip, scaler, *IMPORT))


def test_a_scaling_without_use_is_refused(months, scaled, tmp_path):
    scaler = f"data.scaler_file={scaled / 'scaler_groups.json'}"
    with pytest.raises(ConfigError, match="nothing reads this file"):
        prepare(recipe(months[0], tmp_path / "store", scaler))


def test_a_scaling_may_also_scale_the_input_of_files_in_mm(one_month, scaled):
    scaler = f"data.scaler_file={scaled / 'scaler_groups.json'}"
    assert len(prepare(one_month(None, scaler, "data.scaling=minmax_groups"))) == 2

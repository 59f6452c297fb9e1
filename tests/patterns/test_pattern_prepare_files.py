"""What prepare writes for others: CF NetCDF by a strict reading of its rules, the merged file."""

import h5py
import hdf5plugin  # noqa: F401  (lets xarray read zstd and LZ4)
import metpy.units
import numpy as np
import pytest
import xarray as xr
from era5_files import edit, write_file, write_merged, write_year
from prepared_stores import config_for, content

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.merged import NAME, from_merged
from tenkizu.patterns.physics.channels import DEFAULT, SEED
from tenkizu.patterns.preparation import prepare

DAYS = 12

# Canonical units of the CF standard name table for every name that the files may use.
STANDARD_NAMES = {
    "air_equivalent_potential_temperature": "K",
    "air_pressure_at_mean_sea_level": "Pa",
    "air_temperature": "K",
    "atmosphere_convective_available_potential_energy": "J kg-1",
    "atmosphere_convective_inhibition": "J kg-1",
    "atmosphere_layer_thickness_expressed_as_geopotential_height_difference": "m",
    "atmosphere_mass_content_of_cloud_ice": "kg m-2",
    "atmosphere_mass_content_of_cloud_liquid_water": "kg m-2",
    "atmosphere_mass_content_of_water_vapor": "kg m-2",
    "atmosphere_upward_relative_vorticity": "s-1",
    "cloud_area_fraction": "1",
    "divergence_of_wind": "s-1",
    "eastward_atmosphere_water_vapor_transport_across_unit_distance": "kg m-1 s-1",
    "eastward_wind": "m s-1",
    "geopotential_height": "m",
    "lagrangian_tendency_of_air_pressure": "Pa s-1",
    "latitude": "degrees_north",
    "longitude": "degrees_east",
    "lwe_thickness_of_precipitation_amount": "m",
    "northward_atmosphere_water_vapor_transport_across_unit_distance": "kg m-1 s-1",
    "northward_wind": "m s-1",
    "relative_humidity": "1",
    "sea_binary_mask": "1",
    "sea_surface_temperature": "K",
    "specific_humidity": "kg kg-1",
    "time": "s",
    "wind_speed": "m s-1",
}
AXES = {
    "valid_time": ("T", "time"),
    "latitude": ("Y", "latitude"),
    "longitude": ("X", "longitude"),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Twelve days of all tasks on 9 x 9 cells; read only."""
    return write_year(tmp_path_factory.mktemp("raw"), 2000, 5.0, DAYS)


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    """The store of the default channels, with its merged file; read only."""
    folder = tmp_path_factory.mktemp("made")
    return prepare(config_for(folder, raw, years=[2000]), merged=folder / NAME)


@pytest.fixture(scope="module", params=["year", "merged"])
def file(request, store):
    """Both kinds of NetCDF files."""
    return store.path / "maps_2000.nc" if request.param == "year" else store.path.parent / NAME


# ---------------------------------------------------------------------------- CF


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def attributes(variable):
    """Attributes of a data set but for those of HDF5 and NetCDF-4 themselves."""
    own = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid")
    return {k: text(v) for k, v in variable.attrs.items() if k not in (*own, "_Netcdf4Coordinates")}


def dimensions(variable):
    if "DIMENSION_LIST" not in variable.attrs:  # a coordinate variable is its own dimension
        return (variable.name.strip("/"),)
    return tuple(scale[0].name.strip("/") for scale in variable.dims)


def variables(opened):
    """Variables with their names, without dimensions that have no variable."""
    no_variable = "This is a netCDF dimension but not a netCDF variable"
    return {
        name: item
        for name, item in opened.items()
        if not text(item.attrs.get("NAME", "")).startswith(no_variable)
    }


def test_global_attributes(file):
    with h5py.File(file) as opened:
        assert text(opened.attrs["Conventions"]) == "CF-1.11"
        for name in ("title", "source", "history"):
            assert text(opened.attrs[name]).strip()


def test_axes(file):
    """One coordinate variable an axis: numeric, strictly monotonic, nothing missing."""
    with h5py.File(file) as opened:
        for name, (axis, standard_name) in AXES.items():
            variable, about = opened[name], attributes(opened[name])
            assert dimensions(variable) == (name,)
            assert about["axis"] == axis
            assert about["standard_name"] == standard_name
            assert not {"_FillValue", "missing_value"} & set(about)
            steps = np.diff(variable[...])
            assert (steps > 0).all() or (steps < 0).all()
        assert attributes(opened["valid_time"])["calendar"] in ("standard", "proleptic_gregorian")
        assert attributes(opened["valid_time"])["units"] == "minutes since 1970-01-01 00:00:00"
        assert opened["valid_time"][0] == 946684800 / 60  # 2000-01-01, in Unix time
        assert opened["latitude"][...].tolist() == [55, 50, 45, 40, 35, 30, 25, 20, 15]
        assert attributes(opened["latitude"])["units"] == "degrees_north"
        assert attributes(opened["longitude"])["units"] == "degrees_east"


def test_units_and_standard_names(file):
    """Units must be known, and convertible to those of the standard name table."""
    known = metpy.units.units
    with h5py.File(file) as opened:
        for name, variable in variables(opened).items():
            about = attributes(variable)
            if name == "valid_time_bnds":
                assert about == {}  # all are those of the time
                continue
            assert about["long_name"].strip(), name
            if name == "label":
                continue
            if name != "valid_time":
                units = known.parse_units(about["units"])
                standard_name = about.get("standard_name")
                is_temperature = name in ("t850", "thetae850", "sst")
                assert about.get("units_metadata") == (
                    "temperature: on_scale" if is_temperature else None
                ), name
                if standard_name is not None:
                    assert known.is_compatible_with(units, STANDARD_NAMES[standard_name]), name
            assert about.get("standard_name") is None or about["standard_name"] in STANDARD_NAMES


def test_variables_have_axes_in_order_and_missing_values_of_their_type(file):
    with h5py.File(file) as opened:
        for name, variable in variables(opened).items():
            used = dimensions(variable)
            if name == "valid_time_bnds":
                assert used == ("valid_time", "bounds")
                continue
            assert used == tuple(axis for axis in AXES if axis in used), name
            if name not in AXES and name != "label":
                fill = variable.attrs["_FillValue"]
                assert fill.dtype == variable.dtype
                assert np.isnan(fill).all()


def test_rain_falls_in_the_hour_before(file):
    """A sum over time needs bounds, which must hold the coordinate."""
    with h5py.File(file) as opened:
        assert attributes(opened["tp"])["cell_methods"] == "valid_time: sum"
        assert attributes(opened["valid_time"])["bounds"] == "valid_time_bnds"
        bounds, times = opened["valid_time_bnds"][...], opened["valid_time"][...]
        assert bounds.dtype == times.dtype
        np.testing.assert_array_equal(bounds[:, 1], times)
        np.testing.assert_array_equal(bounds[:, 1] - bounds[:, 0], 60)


def test_xarray_finds_times_bounds_and_values(file):
    with xr.open_dataset(file, engine="h5netcdf", decode_cf=True, decode_coords="all") as dataset:
        days = np.arange("2000-01-01", "2000-01-13", dtype="datetime64[D]")
        np.testing.assert_array_equal(dataset.valid_time.to_numpy().astype("M8[D]"), days)
        assert "valid_time_bnds" in dataset.coords
        assert dataset.msl.sel(valid_time="2000-01-05", latitude=35, longitude=135).size == 1
        assert 95000 < float(dataset.msl.mean()) < 105000
        assert np.isnan(dataset.sst.to_numpy()).any()


def test_daily_means_say_so(raw, tmp_path):
    times = np.arange("2000-01-01", "2000-01-05", np.timedelta64(12, "h"), "datetime64[m]")
    path = tmp_path / "half.nc"
    write_file(path, ("msl",), times, 5.0)
    means = {"hours": [0, 12], "daily": "mean", "channels": ["msl", "grad_msl"]}
    made = prepare(config_for(tmp_path, [path], **means))
    with h5py.File(made.path / "maps_2000.nc") as opened:
        assert attributes(opened["grad_msl"])["cell_methods"] == "valid_time: mean"
        hours = (opened["valid_time_bnds"][...] - opened["valid_time"][...][:, None]) / 60
    np.testing.assert_array_equal(hours, [[0, 24]] * 4)


# ---------------------------------------------------------------------------- merged


def test_the_merged_file_holds_what_the_years_hold_with_labels(store):
    with (
        xr.open_dataset(store.path.parent / NAME, engine="h5netcdf") as merged,
        xr.open_dataset(store.path / "maps_2000.nc", engine="h5netcdf") as year,
    ):
        assert set(merged.data_vars) == {*year.data_vars, "label"}
        assert {*DEFAULT, "cape", "cin", "viwve", "viwvn", "ivt_dir"} <= set(merged.data_vars)
        xr.testing.assert_identical(
            merged.drop_vars("label").drop_attrs(deep=False), year.drop_attrs(deep=False)
        )
        # Of the shipped calendar, by the local date: 09 JST on the same day.
        assert merged.label.to_numpy()[:4].tolist() == ["1", "3C+2D", "2A", "1+2A"]
        assert merged.msl.encoding["chunksizes"] == (1, 9, 9)
    with h5py.File(store.path.parent / NAME) as opened:
        filters = opened["msl"].id.get_create_plist()
        codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    assert codes[-1] == 32004  # LZ4, as registered with the HDF Group


def test_two_years_in_one_file_and_again(tmp_path):
    dates = np.arange("1999-12-20", "2000-01-11", dtype="datetime64[D]").astype("datetime64[m]")
    path, merged = tmp_path / "msl.nc", tmp_path / "all.nc"
    write_file(path, ("msl",), dates, 5.0)
    table = tmp_path / "labels.csv"
    table.write_text("date,label\n1999-12-31,1\n2000-01-01,2C+3A\n2000-01-02,N/A\n")
    labels = {"file": str(table)}
    config = config_for(tmp_path, [path], labels, channels=["msl", "msl_dt24", "f1_season"])
    store = prepare(config, merged=merged)
    with xr.open_dataset(merged, engine="h5netcdf") as dataset:
        assert dataset.sizes["valid_time"] == 21
        expected = [store.read("maps", i)[0, 2, 3] for i in range(21)]
        np.testing.assert_array_equal(dataset.msl[:, 2, 3], expected)
        days = dataset.valid_time.to_numpy().astype("datetime64[D]").astype(str)
        known = {
            day: text for day, text in zip(days, dataset.label.to_numpy(), strict=True) if text
        }
    assert known == {"1999-12-31": "1", "2000-01-01": "2C+3A"}
    written = merged.stat().st_mtime_ns
    prepare(config, merged=merged)
    assert merged.stat().st_mtime_ns == written
    # Other labels need no other store, but another file.
    table.write_text("date,label\n1999-12-31,2A\n")
    prepare(config, merged=merged)
    with xr.open_dataset(merged, engine="h5netcdf") as dataset:
        assert [v for v in dataset.label.to_numpy() if v] == ["2A"]
    # A run that ends while it is written leaves the file that was there.
    table.write_text("date,label\n1999-12-31,2B\n")
    before = merged.read_bytes()

    def interrupt(items, description):
        yield from items
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, merged=merged, track=interrupt)
    assert merged.read_bytes() == before


def test_what_cannot_be_merged_is_said_first(raw, tmp_path):
    config = config_for(tmp_path, raw, channels=["msl"], netcdf=False)
    with pytest.raises(ConfigError, match=r"data\.netcdf"):
        prepare(config, merged=tmp_path / NAME)
    config = config_for(tmp_path, raw, channels=["msl"])
    other = tmp_path / "notes.nc"
    other.write_text("mine")
    with pytest.raises(DataError, match="another file stands"):
        prepare(config, merged=other)
    assert other.read_text() == "mine"
    assert not config.data.store.exists()
    prepare(config, merged=other, overwrite=True)
    with h5py.File(other) as opened:
        assert "msl" in opened


# ---------------------------------------------------------------------------- from a merged file


def test_a_merged_file_of_others_gives_the_store_of_the_raw_files(raw, tmp_path):
    """But for the 16 bits to which raw files are packed, and the first day's change of pressure."""
    times = np.arange("1999-12-31", "2000-01-13", dtype="datetime64[D]")
    path = tmp_path / "reference.nc"
    write_merged(path, times, 5.0)
    # What it derived is passed over: this would be noticed.
    edit(path, "thk_1000_500", at=(), value=-1.0)
    raw_run = config_for(tmp_path / "raw", raw, years=[2000], channels="seed")
    expected = prepare(raw_run)
    again = config_for(tmp_path / "again", raw, years=[2000], channels="seed")
    found = prepare(from_merged(again, path))
    assert found.meta["channels"] == list(SEED)
    assert found.meta["days"] == expected.meta["days"]
    assert found.meta["inputs"].keys() == {"reference.nc"}
    maps = [np.stack([s.read("maps", i) for i in range(DAYS)]) for s in (expected, found)]
    for c, name in enumerate(expected.meta["arrays"]["maps"]["channels"]):
        one, other = maps[0][:, c], maps[1][:, c]
        if name == "ivt_dir":
            one, other = np.cos(np.deg2rad(one)), np.cos(np.deg2rad(other))
        span = np.nanmax(one) - np.nanmin(one)
        np.testing.assert_allclose(other, one, rtol=0, atol=5e-3 * span, err_msg=name)


def test_our_own_merged_file_makes_the_same_store(store, raw, tmp_path):
    config = config_for(tmp_path, raw, years=[2000])
    again = prepare(from_merged(config, store.path.parent / NAME))
    # Its first day has no day before it.
    assert again.meta["days"] == store.meta["days"][1:]
    for i in range(len(again)):
        for name in ("msl", "gh500", "t850", "msl_dt24", "mfc850", "thetae850"):
            c = store.meta["arrays"]["maps"]["channels"].index(name)
            np.testing.assert_allclose(
                again.read("maps", i)[c], store.read("maps", i + 1)[c], rtol=1e-4, atol=1e-9
            )
    assert content(again)[0]["config"]["data"]["source"] == "files"

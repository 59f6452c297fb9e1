"""Zarr in ARCO-ERA5's layout as input: the same store as from NetCDF files, and little read."""

import builtins
import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from arco_files import globe, write_arco
from era5_files import days_of, write_file

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.reading.fingerprints import fingerprint
from tenkizu.patterns.reading.map_paths import is_store_folder, map_path
from tenkizu.patterns.reading.maps import open_files
from tenkizu.patterns.reading.zarr_groups import is_zarr, zarr_url

FIELDS = ("msl", "sst", "tp", "z500", "z1000", "u850", "v850")
CHANNELS = ["msl", "msl_dt24", "grad_msl", "gh500", "thk_1000_500", "vmag850", "tp", "sst"]
CHANNELS += ["sea_mask", "f1_season"]
AREA = [55, 115, 15, 155]
DAYS = days_of(2001, 6)


@pytest.fixture(scope="module")
def netcdf(tmp_path_factory):
    """Six days on 9 x 9 cells in today's format, and the pressure of the day before."""
    folder = tmp_path_factory.mktemp("netcdf")
    groups = {"msl": ("msl",), "surface": ("sst", "tp"), "z": ("z500", "z1000")}
    groups["winds"] = ("u850", "v850")
    before = DAYS[:1] - np.timedelta64(1, "D")
    for name, fields in groups.items():
        times = np.concatenate([before, DAYS]) if name == "msl" else DAYS
        write_file(folder / f"{name}.nc", fields, times, 5.0)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def archive(netcdf, tmp_path_factory):
    """The same weather among that of other hours, all over the globe; to be read only."""
    return write_arco(tmp_path_factory.mktemp("zarr") / "era5.zarr", netcdf, FIELDS)


def config_for(folder, files, **data):
    return PatternsConfig.model_validate(
        {
            "run": {"name": "tiny", "dir": str(folder / "runs")},
            "data": {"files": [str(f) for f in files], "store": str(folder / "store")}
            | {"channels": CHANNELS, "netcdf": False, "years": [2001]}
            | data,
        }
    )


@pytest.fixture(scope="module")
def expected(netcdf, tmp_path_factory):
    return prepare(config_for(tmp_path_factory.mktemp("expected"), netcdf))


def require_equal_stores(store, expected):
    for key in ("days", "left_out", "channels", "grid", "arrays", "moment_rows"):
        assert store.meta[key] == expected.meta[key], key
    for name in ("maps_2001.npy", "moments.npy", "static.npy"):
        np.testing.assert_array_equal(np.load(store.path / name), np.load(expected.path / name))


def test_prepare_gives_the_same_store_as_from_netcdf(archive, expected, tmp_path):
    assert len(expected) == 6
    store = prepare(config_for(tmp_path, [archive], area=AREA))
    require_equal_stores(store, expected)
    assert list(store.meta["inputs"]) == ["era5.zarr"]


def test_format_3_and_chunks_smaller_than_the_area(netcdf, expected, tmp_path):
    # Chunks of 40 degrees, none of which the area fills.
    path = write_arco(tmp_path / "era5.zarr", netcdf, FIELDS, chunk=8, zarr_format=3, hours=1)
    assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3
    require_equal_stores(prepare(config_for(tmp_path, [path], area=AREA)), expected)


def test_only_the_chunks_of_the_hours_and_the_area_are_read(netcdf, expected, tmp_path):
    path = write_arco(tmp_path / "era5.zarr", netcdf, FIELDS, chunk=12, hours=4)
    kept = dropped = 0
    for chunk in path.glob("*/*.*.*"):
        time, *_, row, column = (int(i) for i in chunk.name.split("."))
        # Rows 7 to 15 and columns 23 to 31: chunks 0 and 1, and 1 and 2.
        if time % 4 or row > 1 or column not in (1, 2):
            chunk.unlink()
            dropped += 1
        else:
            kept += 1
    assert dropped > 10 * kept > 0
    require_equal_stores(prepare(config_for(tmp_path, [path], area=AREA)), expected)
    # Whatever else is asked for is missed.
    with open_files([path], area=[85, 115, 15, 155]) as source:
        source.read(["msl"], DAYS)
    with open_files([path], area=[55, 5, 15, 155]) as source, pytest.raises(DataError) as failure:
        source.read(["msl"], DAYS)
    assert "era5.zarr: mean_sea_level_pressure: non-finite values" in str(failure.value)


def test_an_area_may_cross_the_seam_of_the_longitudes(archive):
    lat, _ = globe()
    maps = zarr.open_group(archive, mode="r")["mean_sea_level_pressure"][24::24]
    with open_files([archive], area=[60, -20, 30, 15], names=["msl"]) as source:
        np.testing.assert_array_equal(source.grid.x, np.arange(-20, 16, 5))
        found = source.read(["msl"], DAYS)["msl"]
    columns = [68, 69, 70, 71, 0, 1, 2, 3]
    rows = np.flatnonzero((lat <= 60) & (lat >= 30))
    np.testing.assert_array_equal(found, maps[:, rows][:, :, columns])
    with open_files([archive], area=[60, -40, 30, -10], names=["msl"]) as source:
        np.testing.assert_array_equal(source.grid.x, np.arange(-40, -9, 5))
    with pytest.raises(DataError, match=r"does not cover the area"):
        open_files([archive], area=[60, 0, 30, 400])


def test_names_levels_and_units_are_those_of_the_layout(archive):
    with open_files([archive]) as source:
        assert {"msl", "z500", "z850", "u1000", "tp"} <= set(source.names)
        assert source.units["z500"] == "m2 s-2"
        assert source.files == (archive,)
        with pytest.raises(DataError, match=r"geopotential: non-finite values"):
            source.read(["z850"], DAYS)  # the archive has no values there


# ---------------------------------------------------------------------------- damage


@pytest.fixture
def small(netcdf, tmp_path):
    """A small archive to be broken."""
    return write_arco(tmp_path / "era5.zarr", netcdf, ("msl",), hours=1)


def failure_of(path):
    with pytest.raises(DataError) as failure, open_files([path]) as source:
        source.read(["msl"], DAYS)
    assert str(path) in str(failure.value)
    return str(failure.value)


def test_a_chunk_that_is_not_there(small):
    (small / "mean_sea_level_pressure" / "3.0.0").unlink()
    assert "non-finite values; found 2664 in 1 of 6 maps read, first on 2001-01-03" in failure_of(
        small
    )


def test_a_chunk_that_is_not_there_is_not_read_as_zero(netcdf, tmp_path):
    path = write_arco(tmp_path / "era5.zarr", netcdf, ("msl", "u850"), hours=1)
    metadata = path / "u_component_of_wind" / ".zarray"
    for file in (metadata, path / ".zmetadata"):
        file.write_text(file.read_text().replace('"fill_value": "NaN"', '"fill_value": null'))
    (path / "u_component_of_wind" / "2.0.0.0").unlink()
    with open_files([path], area=AREA) as source, pytest.raises(DataError) as failure:
        source.read(["u850"], DAYS)
    assert "u_component_of_wind: damaged or truncated" in str(failure.value)
    assert "chunk 2.0.0.0 is not there" in str(failure.value)
    with open_files([path], area=AREA) as source:
        source.read(["u850"], DAYS[2:])  # what is there can be used


def test_damaged_chunks_and_metadata(small):
    chunk = small / "mean_sea_level_pressure" / "3.0.0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert "mean_sea_level_pressure: damaged or truncated: cannot be read" in failure_of(small)
    (small / ".zmetadata").write_text("{")
    assert "damaged or truncated: cannot be read" in failure_of(small)


def test_a_folder_that_is_no_zarr(tmp_path):
    with pytest.raises(DataError) as failure:
        open_files([tmp_path])
    assert "found 0 of 1, missing" in str(failure.value)
    with pytest.raises(DataError, match="a directory, not a file") as failure:
        prepare(config_for(tmp_path, [tmp_path]))
    assert "a folder that is a Zarr group (zarr.json or .zgroup in it)" in str(failure.value)


def test_without_the_library_the_way_to_install_it(archive, monkeypatch):
    load = builtins.__import__

    def without_zarr(name, *args, **options):
        if name == "zarr":
            raise ModuleNotFoundError("No module named 'zarr'")
        return load(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_zarr)
    with pytest.raises(ConfigError, match=r"pip install 'tenkizu\[zarr\]'"):
        open_files([archive])


# ---------------------------------------------------------------------------- identity


def test_the_fingerprint_follows_the_content(small, tmp_path):
    first = fingerprint(small)
    shutil.copytree(small, tmp_path / "copy.zarr")
    assert fingerprint(tmp_path / "copy.zarr") == first
    (tmp_path / "copy.zarr" / "mean_sea_level_pressure" / "3.0.0").unlink()
    assert fingerprint(tmp_path / "copy.zarr") != first


def test_addresses_survive_as_paths(tmp_path):
    address = "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"
    assert zarr_url(type(tmp_path)(address)) == address
    assert is_zarr(type(tmp_path)(address))
    assert zarr_url(tmp_path) is None
    assert not is_zarr(tmp_path)


@pytest.mark.parametrize("host", ["", "localhost"])
def test_addresses_of_this_machine_are_paths(host, netcdf, expected, tmp_path):
    path = write_arco(tmp_path / "an archive.zarr", netcdf, FIELDS, hours=1)
    address = f"file://{host}{tmp_path}/an%20archive.zarr"
    store = prepare(config_for(tmp_path, [address], area=AREA))
    require_equal_stores(store, expected)
    assert list(store.meta["inputs"]) == ["an archive.zarr"]
    assert map_path(address) == path
    assert not is_store_folder(address)
    # As a path, which keeps one slash of three.
    with open_files([Path(f"file://{path}")], area=AREA) as source:
        source.read(["msl"], DAYS)


@pytest.mark.parametrize(
    ("address", "library"),
    [("gs://bucket/x.zarr", "gcsfs"), ("s3://bucket/x.zarr", "s3fs"), ("az://c/x.zarr", "adlfs")],
)
def test_addresses_say_what_they_need(address, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    with pytest.raises(ConfigError) as failure:
        prepare(config_for(tmp_path, [address]))
    assert str(failure.value).startswith(f"{address}: this kind of address needs a library that is")
    assert str(failure.value).endswith(f"next: pip install fsspec {library}")
    with pytest.raises(ConfigError, match=f"pip install fsspec {library}"):
        open_files([Path(address)])


def test_an_address_that_does_not_answer(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/x.zarr"
        with pytest.raises(DataError) as failure:
            prepare(config_for(tmp_path, [address]))
    assert str(failure.value).startswith(f"{address}: no Zarr group can be read at this address")

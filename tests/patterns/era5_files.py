"""ERA5 files in the true formats of the Climate Data Store: names, levels, units, types, packing.

`write_year` writes the files of a year of all tasks; `write_file` any fields in one file, as
today's CDS does (``today``), as it did before 2024 (``old``), in a ZIP archive (``zip``), or as
cfgrib names things (``cfgrib``). The weather is synthetic. The other functions break a file.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path

import h5netcdf
import h5py
import hdf5plugin
import numpy as np
from scipy.io import netcdf_file
from synthetic_weather import Weather, kind_of, region

from tenkizu.patterns.reading.era5 import TASKS, file_name

# Short name: GRIB parameter, CDS variable, units, long name.
VARIABLES = {
    "msl": (151, "mean_sea_level_pressure", "Pa", "Mean sea level pressure"),
    "tcwv": (
        137,
        "total_column_water_vapour",
        "kg m**-2",
        "Total column vertically-integrated water vapour",
    ),
    "viwve": (
        162071,
        "vertical_integral_of_eastward_water_vapour_flux",
        "kg m**-1 s**-1",
        "Vertical integral of eastward water vapour flux",
    ),
    "viwvn": (
        162072,
        "vertical_integral_of_northward_water_vapour_flux",
        "kg m**-1 s**-1",
        "Vertical integral of northward water vapour flux",
    ),
    "cape": (
        59,
        "convective_available_potential_energy",
        "J kg**-1",
        "Convective available potential energy",
    ),
    "cin": (228001, "convective_inhibition", "J kg**-1", "Convective inhibition"),
    "tcc": (164, "total_cloud_cover", "(0 - 1)", "Total cloud cover"),
    "tp": (228, "total_precipitation", "m", "Total precipitation"),
    "u10": (165, "10m_u_component_of_wind", "m s**-1", "10 metre U wind component"),
    "v10": (166, "10m_v_component_of_wind", "m s**-1", "10 metre V wind component"),
    "sst": (34, "sea_surface_temperature", "K", "Sea surface temperature"),
    "tclw": (78, "total_column_cloud_liquid_water", "kg m**-2", "Total column cloud liquid water"),
    "tciw": (79, "total_column_cloud_ice_water", "kg m**-2", "Total column cloud ice water"),
    "tcrw": (228089, "total_column_rain_water", "kg m**-2", "Total column rain water"),
    "tcsw": (228090, "total_column_snow_water", "kg m**-2", "Total column snow water"),
    "z": (129, "geopotential", "m**2 s**-2", "Geopotential"),
    "t": (130, "temperature", "K", "Temperature"),
    "u": (131, "u_component_of_wind", "m s**-1", "U component of wind"),
    "v": (132, "v_component_of_wind", "m s**-1", "V component of wind"),
    "r": (157, "relative_humidity", "%", "Relative humidity"),
    "vo": (138, "vorticity", "s**-1", "Vorticity (relative)"),
    "q": (133, "specific_humidity", "kg kg**-1", "Specific humidity"),
    "w": (135, "vertical_velocity", "Pa s**-1", "Vertical velocity"),
    "d": (155, "divergence", "s**-1", "Divergence"),
}
STANDARD_NAMES = {
    "msl": "air_pressure_at_mean_sea_level",
    "tcwv": "lwe_thickness_of_atmosphere_mass_content_of_water_vapor",
    "tcc": "cloud_area_fraction",
    "z": "geopotential",
    "t": "air_temperature",
    "u": "eastward_wind",
    "v": "northward_wind",
    "r": "relative_humidity",
    "vo": "atmosphere_relative_vorticity",
    "q": "specific_humidity",
    "w": "lagrangian_tendency_of_air_pressure",
    "d": "divergence_of_wind",
}
ACCUMULATED = ("tp",)
OLD_NAMES = {"viwve": "p71.162", "viwvn": "p72.162"}
BLOCK = 46


def write_year(
    folder,
    year,
    grid=2.5,
    days=None,
    convention="today",
    tasks=None,
    seed=0,
    before=True,
    **options,
):
    """The files of a year, named as they are downloaded; returns their paths.

    Args:
        grid: spacing in degrees over 15-55 N, 115-155 E, or (latitudes, longitudes).
        days: the first so many days, or dates; default the whole year.
        convention: today, old, zip or cfgrib.
        tasks: names of the tasks; default all 23.
        seed: of the weather; years of one seed join without a break.
        before: also write the msl file of the year before, with 31 December only.
        options: of `write_file`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weather = Weather(*_axes(grid), seed)
    dates = days_of(year, days)
    chosen = [task for task in TASKS if tasks is None or task.name in tasks]
    paths = []
    if before and "msl" in (task.name for task in chosen):
        paths.append(folder / file_name(TASKS[0], year - 1))
        last = np.array([f"{year - 1}-12-31"], "datetime64[m]")
        write_file(paths[0], ("msl",), last, grid, convention, seed, weather=weather, **options)
    for task in chosen:
        paths.append(folder / file_name(task, year))
        write_file(
            paths[-1], task.fields, dates, grid, convention, seed, weather=weather, **options
        )
    return paths


def days_of(year, days=None):
    """Midnights of a year: all, the first so many, or the dates given."""
    if days is None or isinstance(days, int):
        first = np.datetime64(f"{year}-01-01", "D")
        every = np.arange(first, np.datetime64(f"{year + 1}-01-01", "D"))
        return every[:days].astype("datetime64[m]")
    return np.asarray(days, "datetime64[m]")


def write_file(path, fields, times, grid=2.5, convention="today", seed=0, weather=None, **options):
    """Fields, by native name, in one file.

    Options: ``long_names``, ``south_first``, ``preliminary`` (so many last times are of ERA5T:
    a coordinate in today's format, a dimension in the old one).
    """
    times = np.asarray(times, "datetime64[m]")
    lat, lon = _axes(grid)
    weather = weather or Weather(lat, lon, seed)
    if convention == "zip":
        steps = {}
        for field in fields:
            kind = "accum" if field in ACCUMULATED else "instant"
            steps.setdefault(f"data_stream-oper_stepType-{kind}.nc", []).append(field)
        with (
            tempfile.TemporaryDirectory(dir=Path(path).parent) as scratch,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for member, own in steps.items():
                inner = Path(scratch) / member
                _write_today(inner, own, times, lat, lon, weather, **options)
                archive.write(inner, member)
        return
    writers = {"today": _write_today, "old": _write_old, "cfgrib": _write_cfgrib}
    writers[convention](path, fields, times, lat, lon, weather, **options)


def write_merged(path, times, grid=2.5, seed=0, labels=None):
    """The merged file of the reference implementation: channel names, LZ4, one day a chunk."""
    times = np.asarray(times, "datetime64[m]")
    lat, lon = _axes(grid)
    weather = Weather(lat, lon, seed)
    names = [field for task in TASKS for field in task.fields]
    renamed = {"z500": "gh500", "z1000": "gh1000", "d850": "div850"}
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"valid_time": len(times)}
        _time(file, "valid_time", times, "seconds since 1970-01-01", np.int64)
        _horizontal(file, lat, lon, np.float64)
        maps = {
            renamed.get(name, name): values / 9.80665 if name[0] == "z" else values
            for name, values in weather.fields(names, times).items()
        }
        maps["thk_1000_500"] = maps["gh500"] - maps["gh1000"]
        for name, values in maps.items():
            variable = file.create_variable(
                name, ("valid_time", "latitude", "longitude"), "f4", chunks=(1, *values.shape[1:]),
                **hdf5plugin.LZ4(),
            )  # fmt: skip
            variable[...] = values
            is_height = name in ("gh500", "gh1000", "thk_1000_500")
            own = "m" if is_height else "s-1" if name == "div850" else _units(name)
            variable.attrs["units"] = own
        season = file.create_variable("f1_season", ("valid_time",), "f4")
        season[...] = np.cos(np.arange(len(times), dtype="f4"))
        label = file.create_variable("label", ("valid_time",), h5py.string_dtype())
        label[...] = np.array(labels or ["1"] * len(times), dtype=object)


def _write_today(
    path, fields, times, lat, lon, weather, long_names=False, south_first=False, preliminary=0
):
    levels = _levels(fields)
    order = -1 if south_first else 1
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"valid_time": len(times)}
        file.create_variable("number", (), np.int64, data=0)
        file.variables["number"].attrs.update(
            units="1", long_name="ensemble member numerical id", standard_name="realization"
        )
        _time(file, "valid_time", times, "seconds since 1970-01-01", np.int64)
        if levels:
            # Pressure increases downward; the file has the lowest level first.
            file.dimensions["pressure_level"] = len(levels)
            _coordinate(file, "pressure_level", np.array(levels, np.float64), "hPa", "pressure")
        _horizontal(file, lat[::order], lon, np.float64)
        versions = np.array(["0001"] * len(times), dtype=object)
        versions[len(times) - preliminary :] = "0005"
        expver = file.create_variable("expver", ("valid_time",), h5py.string_dtype())
        expver[...] = versions
        dims = ("valid_time", *(["pressure_level"] if levels else []), "latitude", "longitude")
        shape = tuple(file.dimensions[dim].size for dim in dims)
        made = {}
        for kind in dict.fromkeys(kind_of(f) if levels else f for f in fields):
            param, cds_name, units, long_name = VARIABLES[kind]
            variable = file.create_variable(
                cds_name if long_names else kind, dims, "f4", fillvalue=np.float32(np.nan),
                compression="gzip", compression_opts=1, shuffle=True,
            )  # fmt: skip
            variable.attrs.update(
                GRIB_paramId=np.int64(param), GRIB_dataType="an", GRIB_shortName=kind,
                GRIB_stepType="accum" if kind in ACCUMULATED else "instant",
                GRIB_typeOfLevel="isobaricInhPa" if levels else "surface", GRIB_units=units,
                GRIB_missingValue=3.4028234663852886e38, GRIB_Nx=np.int64(len(lon)),
                GRIB_Ny=np.int64(len(lat)), long_name=long_name, units=units,
                standard_name=STANDARD_NAMES.get(kind, "unknown"),
                coordinates=f"number {' '.join(dims)} expver",
            )  # fmt: skip
            made[kind] = variable
        # Whole chunks at a time, so that none is packed twice.
        block = BLOCK if levels else 2 * 23
        for start in range(0, shape[0], block):
            maps = weather.fields(fields, times[start : start + block])
            for kind, variable in made.items():
                if not levels:
                    variable[start : start + block] = pack16(maps[kind][:, ::order])
                    continue
                values = [maps[f"{kind}{level}"] for level in levels]
                values = np.stack([pack16(v[:, ::order]) for v in values], axis=1)
                variable[start : start + block] = values
        file.attrs.update(
            GRIB_centre="ecmf", GRIB_centreDescription="European Centre for Medium-Range Weather "
            "Forecasts", GRIB_subCentre=np.int64(0), Conventions="CF-1.7",
            institution="European Centre for Medium-Range Weather Forecasts",
            history="2026-01-01T00:00 GRIB to CDM+CF via cfgrib-0.9.15.0/ecCodes-2.42.0",
        )  # fmt: skip


def _write_old(
    path, fields, times, lat, lon, weather, long_names=False, south_first=False, preliminary=0
):
    levels = sorted(_levels(fields))
    order = -1 if south_first else 1
    with netcdf_file(path, "w", version=2) as file:
        for dim, size in (("longitude", len(lon)), ("latitude", len(lat))):
            file.createDimension(dim, size)
        dims = ["time", "latitude", "longitude"]
        # A single level leaves no trace in the file.
        if len(levels) > 1:
            file.createDimension("level", len(levels))
            dims.insert(1, "level")
            _old_coordinate(file, "level", np.array(levels), "i4", "millibars", "pressure_level")
        if preliminary:
            file.createDimension("expver", 2)
            dims.insert(1, "expver")
            _old_coordinate(file, "expver", np.array([1, 5]), "i4", None, "expver")
        file.createDimension("time", len(times))
        _old_coordinate(file, "longitude", lon, "f4", "degrees_east", "longitude")
        _old_coordinate(file, "latitude", lat[::order], "f4", "degrees_north", "latitude")
        hours = (times - np.datetime64("1900-01-01")) / np.timedelta64(1, "h")
        _old_coordinate(file, "time", hours, "i4", "hours since 1900-01-01 00:00:00.0", "time")
        file.variables["time"].calendar = "gregorian"
        for kind in dict.fromkeys(kind_of(f) if levels else f for f in fields):
            _, cds_name, units, long_name = VARIABLES[kind]
            name = cds_name if long_names else OLD_NAMES.get(kind, kind)
            variable = file.createVariable(name, "i2", dims)
            own = [f"{kind}{level}" for level in levels] or [kind]
            low, high = _range(weather, own, times)
            # One count short of the marker of missing values at the lower end.
            scale = (high - low) / 65532.0 or 1.0
            variable.scale_factor, variable.add_offset = scale, (high + low) / 2.0
            variable._FillValue = variable.missing_value = np.int16(-32767)
            variable.units, variable.long_name = units, long_name
            if kind in STANDARD_NAMES:
                variable.standard_name = STANDARD_NAMES[kind]
            for start in range(0, len(times), BLOCK):
                maps = weather.fields(own, times[start : start + BLOCK])
                packed = []
                for values in maps.values():
                    counts = np.rint((values[:, ::order] - variable.add_offset) / scale)
                    packed.append(np.where(np.isnan(counts), -32767, counts).astype(np.int16))
                block = np.stack(packed, axis=1) if len(levels) > 1 else packed[0]
                part = slice(start, start + len(block))
                if not preliminary:
                    variable[part] = block
                    continue
                final = np.arange(start, start + len(block)) < len(times) - preliminary
                final = final.reshape(-1, *[1] * (block.ndim - 1))
                both = [np.where(final, block, -32767), np.where(final, -32767, block)]
                variable[part] = np.stack(both, axis=1)
        file.Conventions = "CF-1.6"
        file.history = "2023-01-01 00:00:00 GMT by grib_to_netcdf-2.28.1"


def _write_cfgrib(path, fields, times, lat, lon, weather):
    """Forecast start as ``time``, a scalar ``step``, and ``valid_time`` beside them."""
    (name,) = fields
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": len(times)}
        start = times - np.timedelta64(6, "h")
        _time(file, "time", start, "seconds since 1970-01-01", np.int64, "forecast_reference_time")
        file.create_variable("step", (), np.float64, data=6.0)
        file.variables["step"].attrs["units"] = "hours"
        file.create_variable("surface", (), np.float64, data=0.0)
        _horizontal(file, lat, lon, np.float64)
        seconds = (times - np.datetime64("1970-01-01")).astype("timedelta64[s]").astype(np.int64)
        valid = file.create_variable("valid_time", ("time",), np.int64, data=seconds)
        valid.attrs.update(units="seconds since 1970-01-01", calendar="proleptic_gregorian")
        values = weather.fields(fields, times)[name]
        variable = file.create_variable(name, ("time", "latitude", "longitude"), "f4", data=values)
        variable.attrs.update(units=_units(name), GRIB_shortName=name)


def pack16(values):
    """Values (T, H, W) as GRIB stores them: 16 bits a map, in steps of a power of two."""
    # A map may hold no value at all.
    low = np.fmin.reduce(values, axis=(1, 2), keepdims=True)
    low = np.nan_to_num(low)
    span = np.nan_to_num(
        np.nanmax(np.where(np.isnan(values), low, values), axis=(1, 2), keepdims=True) - low
    )
    step = np.exp2(np.ceil(np.log2(np.maximum(span, 1e-30) / 65535.0))).astype(np.float32)
    return (low + np.rint((values - low) / step) * step).astype(np.float32)


def _axes(grid):
    return region(grid) if np.isscalar(grid) else (np.asarray(grid[0]), np.asarray(grid[1]))


def _units(name):
    return VARIABLES.get(name, VARIABLES.get(kind_of(name)))[2]


def _levels(fields):
    """Levels of upper-air fields, highest pressure first; none for single-level fields."""
    upper = [f for f in fields if f not in VARIABLES]
    if upper and len(upper) < len(fields):
        raise ValueError("a file holds fields of single levels or of pressure levels")
    return sorted({int(f[len(kind_of(f)) :]) for f in upper}, reverse=True)


def _range(weather, fields, times):
    """Smallest and largest value of fields over all times."""
    low, high = np.inf, -np.inf
    for start in range(0, len(times), BLOCK):
        for values in weather.fields(fields, times[start : start + BLOCK]).values():
            if np.isfinite(values).any():
                low, high = min(low, np.nanmin(values)), max(high, np.nanmax(values))
    return (float(low), float(high)) if low <= high else (0.0, 1.0)


def _time(file, name, times, units, dtype, standard_name="time"):
    counts = (times - np.datetime64("1970-01-01")).astype("timedelta64[s]").astype(dtype)
    variable = file.create_variable(name, (name,), dtype, data=counts)
    variable.attrs.update(
        long_name="time", standard_name=standard_name, units=units, calendar="proleptic_gregorian"
    )


def _horizontal(file, lat, lon, dtype):
    file.dimensions["latitude"], file.dimensions["longitude"] = len(lat), len(lon)
    _coordinate(file, "latitude", lat.astype(dtype), "degrees_north", "latitude")
    _coordinate(file, "longitude", lon.astype(dtype), "degrees_east", "longitude")


def _coordinate(file, name, values, units, long_name):
    variable = file.create_variable(name, (name,), values.dtype, data=values)
    variable.attrs.update(units=units, long_name=long_name, standard_name=long_name)


def _old_coordinate(file, name, values, dtype, units, long_name):
    variable = file.createVariable(name, dtype, (name,))
    variable[:] = values
    if units:
        variable.units = units
    variable.long_name = long_name


# Ways to break a file.


def edit(path, variable, at=None, value=None, **attrs):
    """Change values (``at`` an index) or attributes of a NetCDF-4 file."""
    with h5py.File(path, "r+") as file:
        if at is not None:
            file[variable][at] = value
        for name, text in attrs.items():
            if text is None:
                del file[variable].attrs[name]
            else:
                file[variable].attrs[name] = text


def truncate(path, share=0.6):
    """Cut a file as a broken download does."""
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: int(share * len(whole))])


def replace_member(path, name, content):
    """A ZIP archive with one member of the given bytes."""
    scratch = Path(f"{path}.new")
    with zipfile.ZipFile(scratch, "w") as archive:
        archive.writestr(name, content)
    shutil.move(scratch, path)

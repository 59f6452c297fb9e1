"""How fast an initial time of the MSM is decoded and regridded, and what a month needs in memory.

Run ``python benchmarks/msm_convert.py`` (two minutes; 120 MB in the temporary folder, which is
emptied again). Lsurf and L-pall are made at full size by the writer of the tests: 190 and 552
fields, 12 bits a value. Each way is timed several times in turn, with the files in memory, and the
median of the processor's seconds is printed; all ways use one thread:

- `read_initial_time`: 48 fields and nine hours of rain from the two files to the model grid;
- ecCodes through the files: every field is met in turn, as ecCodes reads files of many fields, and
  the values of the same 57 are decoded. The goal is at most 1.5 times its time;
- ecCodes in memory: the same 57 decoded from single messages that someone has cut out before; no
  file, no search, no grid, no copy. Nobody can read files so, but it shows what decoding costs;
- as with cfgrib: cfgrib is not used; what it does is written here with ecCodes. Every field of both
  files is met in turn, the keys of its index are read, all values are decoded to an xarray Dataset,
  and ``Dataset.interp`` brings the 48 fields and the rain to the model grid. The goal is at least 5
  times the speed of that.

With ``--month N``, N initial times are converted on two processes (240 are a month: 2.4 GB of
GRIB2 files with another t0 written into them, and as much NetCDF twice over), and the peak of
RssAnon over all processes is printed, which must stay below 2 GB.
"""

import argparse
import contextlib
import importlib
import logging
import os
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

# PROJ comes with pyproj, which xarray's plugins may load, and with ecCodes: pyproj must be first.
with contextlib.suppress(ImportError):
    importlib.import_module("pyproj")

import eccodes
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tenkizu.rain.fields import MSM24
from tenkizu.rain.msm.config import MsmConfig
from tenkizu.rain.msm.conversion import convert
from tenkizu.rain.msm.files import find_initial_times
from tenkizu.rain.msm.monthly_writing import model_grid
from tenkizu.rain.msm.sample import read_initial_time

TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(TESTS / "rain"), str(TESTS / "patterns")]
jma_files: Any = importlib.import_module("jma_files")
peak_memory: Any = importlib.import_module("peak_memory")

T0 = datetime(2018, 7, 6, 12)
PARAMETERS = {
    (3, 1): "Prmsl", (2, 2): "U", (2, 3): "V", (0, 0): "T", (1, 1): "R", (3, 5): "GH",
    (1, 8): "rain",
}  # fmt: skip
INDEX_KEYS = (
    "paramId", "shortName", "name", "units", "cfName", "cfVarName", "dataDate", "dataTime",
    "validityDate", "validityTime", "stepRange", "endStep", "stepType", "stepUnits", "typeOfLevel",
    "level", "number", "gridType", "numberOfPoints", "Nx", "Ny", "edition", "centre", "subCentre",
    "dataType", "missingValue", "iScansNegatively", "jScansPositively", "jPointsAreConsecutive",
    "latitudeOfFirstGridPointInDegrees", "latitudeOfLastGridPointInDegrees",
    "longitudeOfFirstGridPointInDegrees", "longitudeOfLastGridPointInDegrees",
    "iDirectionIncrementInDegrees", "jDirectionIncrementInDegrees", "totalNumber",
    "uvRelativeToGrid",
)  # fmt: skip
"""About what cfgrib reads of every field for its index."""

Field = tuple[str, int]
"""Name in the files of `convert`, and its lead time in hours."""


def handles(path: Path) -> Any:
    """Every field of a file, one handle at a time."""
    with path.open("rb") as stream:
        while (handle := eccodes.codes_grib_new_from_file(stream)) is not None:
            try:
                yield handle
            finally:
                eccodes.codes_release(handle)


def name_of(handle: int) -> Field | None:
    """Which of the 57 fields a handle is; None for another."""
    number = tuple(
        eccodes.codes_get(handle, key) for key in ("parameterCategory", "parameterNumber")
    )
    name = PARAMETERS.get(number)
    end = eccodes.codes_get(handle, "endStep")
    if name == "rain":
        return (name, end) if 1 <= end <= 9 else None
    if name is None or end not in (3, 6):
        return None
    kind = eccodes.codes_get(handle, "typeOfFirstFixedSurface", int)
    if kind == 103:
        name += {"U": "10m", "V": "10m", "T": "2m"}.get(name, "")
    elif kind == 100:
        name += str(eccodes.codes_get(handle, "level"))
    return (name, end) if name in MSM24 else None


def single_messages(paths: list[Path]) -> list[bytes]:
    """The 57 fields as messages of their own."""
    return [
        eccodes.codes_get_message(clone)
        for path in paths
        for handle in handles(path)
        if name_of(handle) and (clone := eccodes.codes_clone(handle))
    ]


def decode_messages(messages: list[bytes]) -> None:
    """EcCodes alone."""
    for message in messages:
        handle = eccodes.codes_new_from_message(message)
        eccodes.codes_get_values(handle)
        eccodes.codes_release(handle)


def decode_files(paths: list[Path]) -> int:
    """EcCodes through the files."""
    count = 0
    for path in paths:
        for handle in handles(path):
            if name_of(handle):
                eccodes.codes_get_values(handle)
                count += 1
    return count


def as_cfgrib(paths: list[Path]) -> dict[Field, NDArray[np.float32]]:
    """All fields to xarray Datasets, and the wanted ones to the model grid by interpolation."""
    grid = model_grid(None)
    result: dict[Field, NDArray[np.float32]] = {}
    for path in paths:
        variables, wanted = {}, {}
        for i, handle in enumerate(handles(path)):
            for key in INDEX_KEYS:
                with contextlib.suppress(eccodes.KeyValueNotFoundError):
                    eccodes.codes_get(handle, key)
            shape = eccodes.codes_get(handle, "Nj"), eccodes.codes_get(handle, "Ni")
            values = eccodes.codes_get_values(handle).reshape(shape).astype(np.float32)
            variables[f"v{i}"] = (("latitude", "longitude"), values)
            if name := name_of(handle):
                wanted[f"v{i}"] = name
        rows, columns = shape
        axes = {
            "latitude": np.linspace(47.6, 22.4, rows),
            "longitude": np.linspace(120.0, 150.0, columns),
        }
        chosen = xr.Dataset(variables, axes)[list(wanted)]
        placed = chosen.interp(latitude=grid.y, longitude=grid.x)
        result |= {name: placed[key].values for key, name in wanted.items()}
    return result


def timed(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each way, in turn, after one call of each."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(repeats + 1):
        for way, work in ways.items():
            began = time.process_time()
            work()
            if k:
                taken[way].append(time.process_time() - began)
    return {way: statistics.median(values) for way, values in taken.items()}


def compare(folder: Path, repeats: int, only_needed: bool) -> None:
    """Print the times of all ways, and the two ratios."""
    paths = jma_files.write_operational(folder, T0, only_needed=only_needed)
    (files,) = find_initial_times(folder)
    sizes = " and ".join(f"{path.stat().st_size / 1e6:.0f} MB" for path in paths)
    messages = single_messages(paths)
    print(f"{os.cpu_count()} cores; files of {sizes}; {len(messages)} fields wanted")
    ours, theirs = read_initial_time(files), as_cfgrib(paths)
    for k, name in enumerate(MSM24):
        for lead in (3, 6):
            off = np.abs(ours.fields[2 * k + lead // 6] - theirs[name, lead]).max()
            assert off <= 1e-5 * max(1.0, np.abs(theirs[name, lead]).max()), (name, lead, off)
    times = timed(
        {
            "read_initial_time": lambda: read_initial_time(files),
            "ecCodes through the files, those fields": lambda: decode_files(paths),
            "ecCodes in memory, those fields": lambda: decode_messages(messages),
            "as with cfgrib, then interp": lambda: as_cfgrib(paths),
        },
        repeats,
    )
    for way, seconds in times.items():
        print(f"{way:<42}{1000 * seconds:8.0f} ms")
    own, bare, memory, peer = times.values()
    print(f"read_initial_time / ecCodes through the files: {own / bare:.2f} (goal: at most 1.5)")
    print(f"read_initial_time / ecCodes in memory: {own / memory:.2f}")
    print(f"as with cfgrib / read_initial_time: {peer / own:.1f} (goal: at least 5)")


def with_t0(content: bytes, shift: timedelta) -> bytes:
    """The same messages with every reference time and end of an interval later by ``shift``."""
    data, place = bytearray(content), 0

    def move(at: int) -> None:
        year, *rest = struct.unpack_from(">HBBBBB", data, at)
        later = datetime(year, *rest) + shift
        struct.pack_into(
            ">HBBBBB", data, at, later.year, later.month, later.day, later.hour, later.minute, 0
        )

    while place < len(data):
        end = place + struct.unpack_from(">Q", data, place + 8)[0]
        place += 16
        while place < end - 4:
            length, number = struct.unpack_from(">IB", data, place)
            if number == 1:
                move(place + 12)
            if number == 4 and struct.unpack_from(">H", data, place + 7)[0] == 8:
                move(place + 34)
            place += length
        place = end
    return bytes(data)


def month(folder: Path, count: int) -> None:
    """Convert ``count`` initial times and print rate, size and peak memory."""
    source, target = folder / "grib", folder / "monthly"
    first = datetime(2018, 7, 1)
    made = jma_files.write_operational(folder / "one", first, only_needed=True)
    source.mkdir()
    for k in range(count):
        t0 = first + timedelta(hours=3 * k)
        for path in made:
            name = path.name.replace(f"{first:%Y%m%d%H}", f"{t0:%Y%m%d%H}")
            (source / name).write_bytes(with_t0(path.read_bytes(), t0 - first))
    peak, done = 0.0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.05):
            members = peak_memory.family(os.getpid())
            peak = max(peak, sum(map(peak_memory.anonymous_mb, members)))

    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.perf_counter()
    report = convert(MsmConfig(grib_dir=source, monthly_dir=target), workers=2)
    seconds = time.perf_counter() - began
    done.set()
    sampler.join()
    assert sum(one.converted for one in report.months) == count
    size = sum(path.stat().st_size for path in target.glob("*.nc"))
    print(
        f"{count} initial times on 2 processes: {seconds:.0f} s ({count / seconds:.1f} a second), "
        f"{size / count / 1e6:.1f} MB each on disk, peak memory {peak / 1000:.2f} GB "
        "(goal: below 2)"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timings of each way")
    parser.add_argument("--quick", action="store_true", help="files with the needed fields alone")
    parser.add_argument("--month", type=int, metavar="N", help="convert N initial times instead")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    eccodes.codes_grib_multi_support_on()
    with tempfile.TemporaryDirectory() as name:
        if options.month:
            month(Path(name), options.month)
        else:
            compare(Path(name), options.repeats, options.quick)


if __name__ == "__main__":
    main()

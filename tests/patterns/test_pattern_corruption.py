"""Damaged inputs give an error or the right store.

What can be known differs by format. Archives have a checksum of every member, and each chunk of
today's files one of its compressed bytes: damage there is found, or lies where no value is. NetCDF
of before 2024, and NetCDF-4 that is not compressed, have no checksum at all: damaged bytes of their
values are other values, of which only those are found that no weather has. `tenkizu patterns
download` notes a SHA-256 of every file for that, and `--verify full` compares it.
"""

from collections import Counter

import numpy as np
import pytest
from corrupt_files import SETS, WAYS, config_for, make_sets, outcome, outcomes, references
from scipy.io import netcdf_file

from tenkizu.core.errors import DataError
from tenkizu.core.parallel import run_tasks
from tenkizu.patterns.preparation import prepare

UNPROTECTED = {
    (name, way) for name in ("old", "cfgrib") for way in ("flipped bits", "zeros", "noise")
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The sound files of each format; read only."""
    folder = tmp_path_factory.mktemp("sets")
    make_sets(folder)
    return folder


def require_error_or_the_right_store(results):
    """Count outcomes; fail at any that is neither, but for values of files without checksum."""
    counts = Counter()
    for number, (name, way, result) in enumerate(results):
        if isinstance(result, float):
            assert (name, way) in UNPROTECTED, (number, name, way, result)
            # Four hundred bytes are 200 values, and those of gradients beside them.
            assert result < 0.15, (number, name, way, result)
            result = "plausible values"
        assert result in ("error", "same", "plausible values"), (number, name, way, result)
        counts[name, result] += 1
    return counts


def test_fifty_damaged_inputs(sets):
    expected = references(sets)
    counts = require_error_or_the_right_store(outcome(s, sets, expected) for s in range(50))
    assert counts.total() == 50
    # Damage is done, and found: 28 seeds are each way of each format once.
    assert all(counts[name, "error"] >= 4 for name in SETS)
    assert len(SETS) * len(WAYS) == 28


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_damaged_inputs(sets):
    tasks = [(sets, range(first, first + 100)) for first in range(0, 2000, 100)]
    counts = Counter()
    for _, results in run_tasks(outcomes, tasks, workers=2, timeout=1800):
        if isinstance(results, Exception):
            raise results
        counts += require_error_or_the_right_store(results)
    assert counts.total() == 2000
    for name in SETS:
        assert counts[name, "error"] >= 200
        assert counts[name, "plausible values"] == 0 or name in ("old", "cfgrib")


def test_a_value_that_no_weather_has_is_found_without_a_checksum(sets, tmp_path):
    """A flipped bit of an exponent in a file of floating-point numbers, NetCDF-3."""
    path = tmp_path / "msl.nc"
    values = np.full((5, 9, 9), 101325.0, ">f4")
    with netcdf_file(path, "w", version=2) as file:
        sizes = {"time": 5, "latitude": 9, "longitude": 9}
        axes = {"time": np.arange(5.0) * 24, "latitude": 55.0 - 5.0 * np.arange(9)}
        axes["longitude"] = 115.0 + 5.0 * np.arange(9)
        for name, size in sizes.items():
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = axes[name]
        file.variables["time"].units = "hours since 2001-01-01"
        variable = file.createVariable("msl", "f4", tuple(sizes))
        variable[:] = values
        variable.units = "Pa"
    sound = path.read_bytes()
    start = sound.index(values[0].tobytes())
    at = start + 4 * (2 * 81 + 3 * 9 + 4)
    damaged = bytearray(sound)
    damaged[at] ^= 1 << 6
    path.write_bytes(damaged)
    config = config_for(tmp_path, [path])
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"channels": ["msl"]})}
    )
    with pytest.raises(DataError) as failure:
        prepare(config)
    assert "msl: values that no weather has" in str(failure.value)
    assert "on 2001-01-03 at row 3, column 4, and 0 more" in str(failure.value)
    assert "expected 77000 to 113000 Pa" in str(failure.value)

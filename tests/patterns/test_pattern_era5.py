"""The table of requests, file names and the plan of files."""

from pathlib import Path

import numpy as np
import pytest

from tenkizu.core.errors import ConfigError
from tenkizu.patterns.reading.era5 import (
    NATIVE_NAMES,
    PRESSURE_LEVELS,
    SINGLE_LEVELS,
    TASKS,
    file_name,
    plan,
    tasks_for,
    times_of,
)

FOLDER = Path("raw")


def test_a_year_is_23_requests_of_31_fields():
    assert len(TASKS) == 23
    assert len({task.name for task in TASKS}) == 23
    assert [task.dataset for task in TASKS] == [SINGLE_LEVELS] * 12 + [PRESSURE_LEVELS] * 11
    assert len(NATIVE_NAMES) == len(set(NATIVE_NAMES)) == 30
    assert all(len(task.variables) == len(task.short_names) for task in TASKS)


def test_fields_of_pressure_levels_carry_the_level_in_their_name():
    by_name = {task.name: task for task in TASKS}
    assert by_name["z_500_1000"].fields == ("z500", "z1000")
    assert by_name["uv_850"].fields == ("u850", "v850")
    assert by_name["ivt_flux"].fields == ("viwve", "viwvn")
    assert by_name["ivt_flux"].variables[1] == "vertical_integral_of_northward_water_vapour_flux"


def test_the_decade_is_230_files_and_one_day_before():
    files = plan(FOLDER, range(1991, 2001), [*NATIVE_NAMES, "msl@-24h"])
    assert len(files) == 231
    assert len({file.path for file in files}) == 231
    assert files[0].path == FOLDER / "era5_msl_1990.nc"
    assert files[0].times.tolist() == [np.datetime64("1990-12-31T00:00", "m").item()]
    assert files[1].path == FOLDER / "era5_msl_1991.nc"
    assert files[-1].path == FOLDER / "era5_d_850_2000.nc"
    assert sum(len(file.times) for file in files if file.task.name == "msl") == 3653 + 1


def test_only_the_files_of_wanted_fields_are_planned():
    files = plan(FOLDER, [1992, 1991], ["v850", "msl", "u850"])
    assert [file.path.name for file in files] == [
        "era5_msl_1991.nc",
        "era5_uv_850_1991.nc",
        "era5_msl_1992.nc",
        "era5_uv_850_1992.nc",
    ]
    assert [len(file.times) for file in files] == [365, 365, 366, 366]


def test_the_previous_day_alone_needs_pressure():
    names = [file.path.name for file in plan(FOLDER, [2001], ["msl@-24h"])]
    assert names == ["era5_msl_2000.nc", "era5_msl_2001.nc"]


def test_hours_multiply_the_times_and_come_in_order():
    times = times_of(2000, (12, 0))
    assert len(times) == 732
    assert str(times[1]) == "2000-01-01T12:00"
    assert str(times[-1]) == "2000-12-31T12:00"
    before = plan(FOLDER, [2000], ["msl@-24h"], (0, 12))[0].times
    assert [str(time) for time in before] == ["1999-12-31T00:00", "1999-12-31T12:00"]


def test_a_field_that_no_request_holds_is_named():
    with pytest.raises(
        ConfigError, match=r"no ERA5 request holds; found t2m, expected some of msl"
    ):
        tasks_for(["msl", "t2m"])
    with pytest.raises(ConfigError, match=r"data\.years: no year is given"):
        plan(FOLDER, [], ["msl"])


def test_files_are_called_by_task_and_year():
    assert file_name(TASKS[12], 1995) == "era5_z_500_1000_1995.nc"

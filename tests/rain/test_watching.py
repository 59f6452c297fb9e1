"""A watched folder: each file once, whatever happens in between."""

import json
import os
import threading
import time
from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from jma_bytes import FieldSpec, message
from jma_products import SMALL, write_meps_rain

from tenkizu.core.errors import ConfigError
from tenkizu.rain import watching
from tenkizu.rain.watching import STATE, watch

T0 = datetime(2024, 7, 5, 6)


@pytest.fixture
def arrived(tmp_path):
    """A folder with one good file and one that is none."""
    folder = tmp_path / "in"
    write_meps_rain(folder, T0, (1, 2, 3), members=1)
    (folder / "broken.grib2").write_bytes(b"GRIB and nothing else")
    return folder


def test_each_file_once_and_a_bad_one_does_not_stop_the_others(arrived, tmp_path, monkeypatch):
    output = tmp_path / "out"
    result = watch("rain-only", arrived, output, once=True)
    assert sorted(outcome.split(":")[0] for outcome in result.values()) == ["done", "failed"]
    assert "broken.grib2" in result["broken"]
    [made] = output.glob("*.nc")
    with xr.open_dataset(made, engine="h5netcdf") as dataset:
        assert dataset.rain_1h.shape[:2] == (3, 1)
    # Nothing is new, so nothing is split again.
    monkeypatch.setattr(watching, "predict", lambda *_: pytest.fail("split twice"))
    assert watch("rain-only", arrived, output, once=True) == result


def test_a_file_that_changed_is_taken_again(arrived, tmp_path):
    output = tmp_path / "out"
    watch("rain-only", arrived, output, once=True)
    good = write_meps_rain(tmp_path / "new", datetime(2024, 7, 5, 9), (1, 2, 3), members=1)[0]
    os.replace(good, arrived / "broken.grib2")
    result = watch("rain-only", arrived, output, once=True)
    assert set(result.values()) == {"done"}
    assert len(list(output.glob("*.nc"))) == 2


def test_an_input_that_kills_the_process_is_given_up(arrived, tmp_path):
    """The record says begun, as a killed process leaves it."""
    output = tmp_path / "out"
    watch("rain-only", arrived, output, once=True)
    state = json.loads((output / STATE).read_text())
    name = next(name for name, entry in state.items() if entry["outcome"] == "done")
    state[name] |= {"outcome": "begun", "attempts": 1}
    (output / STATE).write_text(json.dumps(state))
    (output / f"{name}.nc").unlink()
    assert watch("rain-only", arrived, output, once=True)[name] == "done"
    state[name]["attempts"] = 3
    (output / STATE).write_text(json.dumps(state))
    assert "died of it 3 times" in watch("rain-only", arrived, output, once=True)[name]


def test_a_file_still_growing_waits(tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    whole = write_meps_rain(tmp_path, T0, (1, 2, 3), members=1)[0].read_bytes()
    folder.mkdir()
    growing = folder / "rain.grib2"
    growing.write_bytes(whole[:1000])
    stop = threading.Event()

    def look_until_done(seconds):
        # `sleep` is the place at which a watch waits for more, and at which it can be ended.
        if growing.stat().st_size < len(whole):
            growing.write_bytes(whole)
        if (output / "rain.nc").exists() or stop.is_set():
            raise KeyboardInterrupt

    timer = threading.Timer(60, stop.set)
    timer.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", look_until_done)
        with pytest.raises(KeyboardInterrupt):
            watch("rain-only", folder, output)
    timer.cancel()
    state = json.loads((output / STATE).read_text())
    assert state["rain"]["outcome"] == "done"
    assert state["rain"]["attempts"] == 1


def test_wrong_folders_are_refused(arrived, tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        watch("rain-only", tmp_path / "none", tmp_path / "out")
    with pytest.raises(ConfigError, match="arrive in the folder that is watched"):
        watch("rain-only", arrived, arrived / "out")
    with watching._alone(tmp_path), pytest.raises(ConfigError, match="another watch"):
        watch("rain-only", arrived, tmp_path, once=True)


def test_files_without_rain_are_passed_over(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    wind = FieldSpec(np.ones((SMALL.nj, SMALL.ni)), 2, 2, grid=SMALL)
    (folder / "wind.grib2").write_bytes(message([wind], T0))
    result = watch("rain-only", folder, tmp_path / "out", once=True)
    assert result["wind"].startswith("skipped: ")
    assert not list((tmp_path / "out").glob("*.nc"))

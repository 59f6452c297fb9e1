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

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain import watching
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.model import Disaggregator, RainModel, export
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


def test_what_failed_is_tried_again_with_other_options(tmp_path, write_rain, tiny_rain):
    """Rows of 22 km are off what the model was trained at, until it is said what to do."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    coarse = write_rain(folder / "coarse.nc", tiny_rain[30:36])
    with xr.open_dataset(coarse, engine="h5netcdf") as dataset:
        wide = dataset.load()
    wide.assign_coords(lat=2 * wide.lat).to_netcdf(coarse, engine="h5netcdf")
    write_rain(folder / "fine.nc", tiny_rain[30:36])
    result = watch("rain-only", folder, output, once=True)
    assert result["fine"] == "done"
    assert "grid spacing is far" in result["coarse"]
    # The same again: nothing is tried. What is done is not made again with other options.
    written = (output / "fine.nc").stat().st_mtime_ns
    assert watch("rain-only", folder, output, once=True) == result
    assert json.loads((output / STATE).read_text())["coarse"]["attempts"] == 1
    result = watch("rain-only", folder, output, once=True, regrid="native")
    assert result == {"coarse": "done", "fine": "done"}
    # Attempts are counted afresh.
    assert json.loads((output / STATE).read_text())["coarse"]["attempts"] == 1
    assert (output / "fine.nc").stat().st_mtime_ns == written
    with xr.open_dataset(output / "coarse.nc", engine="h5netcdf") as dataset:
        assert dataset.rain_1h.shape == (6, 24, 32)


def test_another_model_tries_again_too(arrived, tmp_path, tiny_config):
    output = tmp_path / "out"
    watch("rain-only", arrived, output, once=True)
    net = Disaggregator(tiny_config.model, [ChannelScale("S", "mm", "log1p")])
    details = {"name": "toy", "climatology": Climatology.empty().to_json(), "config": {}}
    other = export(tmp_path / "model", net, tiny_config.model, details)

    def models():
        state = json.loads((output / STATE).read_text())
        return {entry["outcome"][:4]: entry["tried_with"]["model"] for entry in state.values()}

    first = models()
    assert first["done"] == first["fail"] == RainModel.load("rain-only").weights_hash
    watch(other, arrived, output, once=True)
    assert models() == first | {"fail": RainModel.load(other).weights_hash}


def test_a_record_that_does_not_say_what_was_tried_is_read(arrived, tmp_path, monkeypatch):
    """As earlier versions wrote it: what failed is tried once more, what is done is not."""
    output = tmp_path / "out"
    result = watch("rain-only", arrived, output, once=True)
    state = json.loads((output / STATE).read_text())
    for entry in state.values():
        del entry["tried_with"]
    (output / STATE).write_text(json.dumps(state))
    tried = []

    def split(model, files, target, **_):
        tried.append([file.name for file in files])
        raise DataError("not yet", file=files[0])

    monkeypatch.setattr(watching, "predict", split)
    again = watch("rain-only", arrived, output, once=True)
    assert tried == [["broken.grib2"]]
    assert "not yet" in again["broken"]
    assert again | {"broken": result["broken"]} == result
    assert watch("rain-only", arrived, output, once=True) == again
    assert len(tried) == 1


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

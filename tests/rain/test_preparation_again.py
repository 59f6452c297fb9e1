"""A store that is there already, or half there: left alone, refused or finished."""

import logging
import signal
import subprocess
import sys

import numpy as np
import pytest
from rain_stores import changed, contents, files_of

from tenkizu.core.config import dump_config
from tenkizu.core.errors import DataError
from tenkizu.core.periods import SplitsConfig
from tenkizu.core.store import SampleStore
from tenkizu.rain.preparation import prepare

# ---------------------------------------------------------------------------- again


def test_a_finished_store_is_left_alone(tiny_config, caplog):
    first = prepare(tiny_config)
    times = {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}
    assert set(times) >= {"store.json", "rain_202305.npy", "rain_202306.npy"}
    assert not first.path.with_name("store.part").exists()

    def never(items, description):
        raise AssertionError(description)

    with caplog.at_level(logging.INFO, "tenkizu"):
        again = prepare(tiny_config, track=never)
    assert again.meta == first.meta
    assert {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()} == times
    assert "up to date: 36 windows" in caplog.text
    # Neither the network nor the training decides what is in the store.
    other = tiny_config.model_copy(update={"run": tiny_config.run.model_copy(update={"name": "b"})})
    prepare(changed(other, flips=True, context=["s"], tile=16), track=never)


def test_other_settings_refuse_until_overwrite_is_said(tiny_config):
    prepare(tiny_config)
    fewer = changed(tiny_config, splits=SplitsConfig(train=["2023-05-31/2023-06-01"]))
    bins = tiny_config.model_copy(
        update={"loss": tiny_config.loss.model_copy(update={"mask_mm": 0.2})}
    )
    for other in (fewer, bins):
        with pytest.raises(DataError, match="made from other settings") as caught:
            prepare(other)
        assert "--overwrite" in str(caught.value)
        assert str(tiny_config.data.store) in str(caught.value)
    store = prepare(fewer, overwrite=True)
    assert set(store.meta["splits"]) == {"train"}
    assert SampleStore(tiny_config.data.store).meta == store.meta
    assert "rain_202305.npy" in files_of(store.path)


def test_a_changed_input_file_refuses_too(tiny_config, tiny_rain, write_rain, tmp_path):
    file = tmp_path / "mine.nc"
    write_rain(file, tiny_rain)
    config = changed(tiny_config, files=[str(file)])
    prepare(config)
    write_rain(file, 2 * tiny_rain)
    with pytest.raises(DataError, match="other settings or files"):
        prepare(config)


# ---------------------------------------------------------------------------- interruption


def stop_at(moment, act):
    """A progress wrapper that acts when window number ``moment`` of all is about to be read."""
    seen = 0

    def track(items, description):
        nonlocal seen
        for item in items:
            if seen == moment:
                act()
            seen += 1
            yield item

    return track


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_run_goes_on_to_the_same_store(seed, tiny_config, tiny_store):
    moment = int(np.random.default_rng(seed).integers(36))

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tiny_config, track=stop_at(moment, fail))
    assert not tiny_config.data.store.exists()
    with pytest.raises(DataError, match="unfinished"):
        SampleStore(tiny_config.data.store)

    read = []

    def count(items, description):
        read.append(description)
        return items

    store = prepare(tiny_config, track=count)
    # A finished month is not read again.
    assert read == (["preparing 2023-05"] if moment < 16 else []) + ["preparing 2023-06"]
    arrays, meta = contents(store)
    whole, expected = contents(tiny_store)
    np.testing.assert_array_equal(arrays, whole)
    paths = ("config",)  # the two stores have their own folders
    assert {k: v for k, v in meta.items() if k not in paths} == {
        k: v for k, v in expected.items() if k not in paths
    }
    assert not store.path.with_name("store.part").exists()


KILLED = """
import os, signal, sys
from tenkizu.core.config import load_config
from tenkizu.rain.config import RainConfig
from tenkizu.rain.preparation import prepare

def track(items, description):
    for i, item in enumerate(items):
        if (description, i) == ("preparing 2023-06", 7):
            os.kill(os.getpid(), signal.SIGKILL)
        yield item

prepare(load_config(RainConfig, sys.argv[1]), track=track)
"""


def test_a_killed_run_goes_on_to_the_same_store(tiny_config, tmp_path):
    whole = prepare(changed(tiny_config, store=tmp_path / "whole"))
    yaml = tmp_path / "run.yaml"
    yaml.write_text(dump_config(tiny_config))
    killed = subprocess.run([sys.executable, "-c", KILLED, yaml], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    part = tiny_config.data.store.with_name("store.part")
    finished = part / "rain_202305.npy"
    written = finished.stat().st_mtime_ns
    assert not (part / "rain_202306.npy").exists()

    store = prepare(tiny_config)
    assert (store.path / finished.name).stat().st_mtime_ns == written
    mine, theirs = files_of(store.path), files_of(whole.path)
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {"store.json"}:
        assert mine[name] == theirs[name], name
    mine, theirs = contents(store)[1], contents(whole)[1]
    assert mine.pop("config")["data"].pop("store") == str(tiny_config.data.store)
    theirs.pop("config")
    assert mine == theirs


def test_what_another_plan_left_unfinished_is_thrown_away(tiny_config, tiny_store):
    other = changed(tiny_config, splits=SplitsConfig(train=["2023-05-30/2023-06-03"]))

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(other, track=stop_at(30, fail))
    arrays, _ = contents(prepare(tiny_config))
    np.testing.assert_array_equal(arrays, contents(tiny_store)[0])

"""Files that are never half-written: atomic writes, resumable stores, damaged stores."""

import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tenkizu.core import store as store_module
from tenkizu.core.errors import DataError
from tenkizu.core.store import (
    SampleStore,
    StoreWriter,
    atomic,
    open_finished,
    read_json,
    write_json,
    write_text,
)

RAIN = np.random.default_rng(3).gamma(0.3, 3.0, (7, 2, 4, 5)).astype(np.float32)
BLOCKS = {"rain_202001": RAIN[:3], "rain_202002": RAIN[3:]}


def content(folder):
    """Every file below a folder, hidden ones too, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_block(writer, name, calls=None):
    values = BLOCKS[name]

    def fill(array):
        if calls is not None:
            calls.append(name)
        array[:] = values
        return {"max": values.max(), "cells": np.count_nonzero(values)}

    return writer.block(name, values.shape, fill)


def meta(plan="plan a"):
    blocks = [
        {"file": "rain_202001.npy", "first": 0, "count": 3},
        {"file": "rain_202002.npy", "first": 3, "count": 4},
    ]
    return {"plan_hash": plan, "n_samples": 7, "arrays": {"rain": {"blocks": blocks}}}


def make(path, plan="plan a", calls=None):
    writer = StoreWriter(path, plan)
    for name in BLOCKS:
        write_block(writer, name, calls)
    return writer.finish(meta(plan))


# Text and JSON


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.json"
    write_text(path, "old")

    def write_half():
        with atomic(path) as part:
            part.write_text("half of the new")
            assert path.read_text() == "old"
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert content(tmp_path) == {"scores.json": b"old"}


def test_interrupted_first_write_leaves_no_file_at_all(tmp_path):
    def write_half():
        with atomic(tmp_path / "new" / "fields.nc") as part:
            part.write_bytes(b"CDF")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert content(tmp_path) == {}


def test_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    with atomic(tmp_path / "rain.2020.nc") as part:
        assert part.parent == tmp_path
        assert part.suffix == ".nc"
        part.touch()
    assert content(tmp_path) == {"rain.2020.nc": b""}


def test_json_takes_numpy_values_and_writes_undefined_ones_as_null(tmp_path):
    path = tmp_path / "scores.json"
    value = {
        "skill": np.float32(0.25),
        "undefined": np.nan,
        "largest": -np.inf,
        "counts": np.array([[1, 2], [3, 4]]),
        "mixed": (np.float64(np.nan), np.int64(2**53 + 1), np.bool_(True), None),
        "folder": Path("runs/東京"),
        "name": "天気図",
        5: "five",
    }
    write_json(path, value)
    text = path.read_text(encoding="utf-8")
    assert "天気図" in text
    assert "NaN" not in text
    assert text.endswith("}\n")
    assert read_json(path, "scores") == {
        "skill": 0.25,
        "undefined": None,
        "largest": None,
        "counts": [[1, 2], [3, 4]],
        "mixed": [None, 2**53 + 1, True, None],
        "folder": "runs/東京",
        "name": "天気図",
        "5": "five",
    }


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert content(tmp_path) == {"scores.json": b'{\n  "n": 1\n}\n'}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file; expected a run's history"),
        (b'{"a": ', "damaged: Expecting value"),
        (b"\xff\xfe{}", "damaged: 'utf-8' codec"),
        (b"", "damaged: Expecting value"),
        (b"[1, 2]", "not a JSON object"),
    ],
)
def test_unreadable_json_is_named(tmp_path, data, message):
    path = tmp_path / "history.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_json(path, "a run's history")
    assert str(path) in str(caught.value)


def test_folder_in_place_of_a_json_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_json(tmp_path, "a run's history")


# Writing and resuming stores


def test_samples_read_equal_what_was_written(tmp_path):
    store = make(tmp_path / "store")
    assert len(store) == 7
    for index, sample in enumerate(RAIN):
        read = store.read("rain", index)
        assert read.dtype == np.float32
        assert not read.flags.writeable
        np.testing.assert_array_equal(read, sample)
    for outside in (-1, 7):
        with pytest.raises(IndexError, match=f"sample {outside} of 7"):
            store.read("rain", outside)


def test_summaries_are_the_same_from_the_first_run_and_from_a_later_one(tmp_path):
    summary = {"max": float(BLOCKS["rain_202001"].max()), "cells": 120}
    assert write_block(StoreWriter(tmp_path / "store", "plan a"), "rain_202001") == summary
    calls = []
    assert write_block(StoreWriter(tmp_path / "store", "plan a"), "rain_202001", calls) == summary
    assert calls == []


def test_failing_block_is_not_kept(tmp_path):
    writer = StoreWriter(tmp_path / "store", "plan a")
    write_block(writer, "rain_202001")
    before = content(writer.part)

    def fill(array):
        array[0] = 1
        raise DataError("a file is damaged")

    with pytest.raises(DataError, match="damaged"):
        writer.block("rain_202002", (4, 2, 4, 5), fill)
    assert content(writer.part) == before


def test_block_without_its_summary_is_written_again(tmp_path):
    writer = StoreWriter(tmp_path / "store", "plan a")
    write_block(writer, "rain_202001")
    (writer.part / "rain_202001.json").unlink()
    calls = []
    write_block(StoreWriter(tmp_path / "store", "plan a"), "rain_202001", calls)
    assert calls == ["rain_202001"]


KILLED = """
import sys, time
import numpy as np
from tenkizu.core.store import StoreWriter

writer = StoreWriter(sys.argv[1], "plan a")
rain = np.load(sys.argv[2])

def first(array):
    array[:] = rain[:3]
    return {"max": rain[:3].max(), "cells": np.count_nonzero(rain[:3])}

def second(array):
    array[:2] = rain[3:5]
    array.flush()
    print("half", flush=True)
    time.sleep(60)

writer.block("rain_202001", (3, 2, 4, 5), first)
writer.block("rain_202002", (4, 2, 4, 5), second)
"""


@pytest.fixture
def killed(tmp_path):
    """A store whose writer was killed in the middle of its second block."""
    path = tmp_path / "store"
    np.save(tmp_path / "rain.npy", RAIN)
    command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "rain.npy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "half\n"
            with pytest.raises(DataError, match="another process is making this store"):
                StoreWriter(path, "plan a")
        finally:
            writer.kill()
    assert writer.returncode == -signal.SIGKILL
    return path


def test_killed_writer_leaves_no_store_and_the_next_one_continues(tmp_path, killed):
    with pytest.raises(DataError, match="the store is unfinished") as caught:
        SampleStore(killed)
    assert "goes on where it stopped" in str(caught.value)
    assert open_finished(killed, "plan a", overwrite=False) is None

    calls = []
    store = make(killed, calls=calls)
    assert calls == ["rain_202002"]
    undisturbed = make(tmp_path / "undisturbed")
    assert content(store.path) == content(undisturbed.path)
    assert {p.name for p in tmp_path.iterdir()} == {"rain.npy", "store", "undisturbed"}


def test_another_plan_discards_what_was_begun(killed):
    calls = []
    store = make(killed, "plan b", calls)
    assert calls == ["rain_202001", "rain_202002"]
    assert store.meta["plan_hash"] == "plan b"


def test_part_folder_without_a_plan_is_discarded(tmp_path):
    part = tmp_path / "store.part"
    part.mkdir()
    (part / "rain_202001.npy").write_bytes(b"of unknown origin")
    (part / "rain_202001.json").write_text("{}")
    calls = []
    make(tmp_path / "store", calls=calls)
    assert calls == ["rain_202001", "rain_202002"]


# Replacing stores


def test_finished_store_is_opened_only_for_its_own_plan(tmp_path):
    path = tmp_path / "store"
    assert open_finished(path, "plan a", overwrite=False) is None
    make(path)
    assert len(open_finished(path, "plan a", overwrite=False)) == 7
    assert open_finished(path, "plan a", overwrite=True) is None
    with pytest.raises(DataError, match="found plan a, expected plan b") as caught:
        open_finished(path, "plan b", overwrite=False)
    assert "--overwrite" in str(caught.value)


def test_new_store_replaces_the_old_one_completely(tmp_path):
    old = make(tmp_path / "store").path
    (old / "rain_201912.npy").write_bytes(b"a block that the new store does not have")
    make(tmp_path / "store", "plan b")
    assert content(tmp_path / "store") == content(make(tmp_path / "fresh", "plan b").path)
    assert {p.name for p in tmp_path.iterdir()} == {"store", "fresh"}


def interrupt_call(monkeypatch, owner, name, number):
    """Interrupt the program at the ``number``-th call of a function."""
    original, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("owner", "function", "number", "stands"),
    [
        (Path, "rename", 1, "plan a"),
        (Path, "rename", 2, None),
        (store_module.shutil, "rmtree", 2, "plan b"),
    ],
    ids=["before moving the old aside", "between the renames", "before deleting the old"],
)
def test_interrupted_replacement_leaves_a_whole_store_or_one_to_finish(
    tmp_path, monkeypatch, owner, function, number, stands
):
    path = tmp_path / "store"
    make(path)
    with monkeypatch.context() as patch:
        interrupt_call(patch, owner, function, number)
        with pytest.raises(KeyboardInterrupt):
            make(path, "plan b")
    if stands:
        store = SampleStore(path)
        assert store.meta["plan_hash"] == stands
        np.testing.assert_array_equal([store.read("rain", i) for i in range(7)], RAIN)
    else:
        with pytest.raises(DataError, match="unfinished"):
            SampleStore(path)
    calls = []
    assert make(path, "plan b", calls).meta["plan_hash"] == "plan b"
    if stands != "plan b":
        assert calls == []  # every block had been written
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


# Reading stores, in this process and in others


def test_store_travels_to_another_process_without_its_data(tmp_path):
    store = make(tmp_path / "store")
    store.read("rain", 0)
    assert len(pickle.dumps(store)) < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for index in (0, 6):
            np.testing.assert_array_equal(pool.apply(store.read, ("rain", index)), RAIN[index])


def test_store_is_read_by_data_loader_workers(tmp_path):
    from torch.utils.data import DataLoader, Dataset

    class Samples(Dataset):
        def __init__(self, store):
            self.store = store

        def __len__(self):
            return len(self.store)

        def __getitem__(self, index):
            return np.array(self.store.read("rain", index))

    store = make(tmp_path / "store")
    store.read("rain", 0)
    store.read("rain", 6)  # both blocks are mapped before the workers start
    for samples in (Samples(store), Samples(pickle.loads(pickle.dumps(store)))):
        batches = [batch.numpy() for batch in DataLoader(samples, 2, num_workers=2)]
        np.testing.assert_array_equal(np.concatenate(batches), RAIN)


def test_missing_store_is_named(tmp_path):
    with pytest.raises(DataError, match="no such store") as caught:
        SampleStore(tmp_path / "store")
    assert "run `prepare`" in str(caught.value)


@pytest.mark.parametrize(
    "found", [{"format": "tenkizu-store", "version": 2}, {"format": "zarr", "version": 1}, {}]
)
def test_store_of_another_format_or_version_is_refused(tmp_path, found):
    path = make(tmp_path / "store").path / "store.json"
    path.write_text(json.dumps(found))
    with pytest.raises(DataError, match="not a store this version can read") as caught:
        SampleStore(path.parent)
    assert "--overwrite" in str(caught.value)


def test_store_without_its_description_is_refused(tmp_path):
    store = make(tmp_path / "store")
    (store.path / "store.json").unlink()
    with pytest.raises(DataError, match="expected a tenkizu sample store"):
        SampleStore(store.path)


@pytest.mark.parametrize("kept", [0, 5, 30, 127, 128, 200, -1])
def test_truncated_block_is_named(tmp_path, kept):
    store = make(tmp_path / "store")
    block = store.path / "rain_202002.npy"
    block.write_bytes(block.read_bytes()[:kept])
    np.testing.assert_array_equal(store.read("rain", 0), RAIN[0])
    with pytest.raises(DataError, match=r"rain_202002\.npy: cannot be read") as caught:
        store.read("rain", 3)
    assert "run `prepare` again with --overwrite" in str(caught.value)


def test_missing_block_is_named(tmp_path):
    store = make(tmp_path / "store")
    (store.path / "rain_202001.npy").unlink()
    with pytest.raises(DataError, match=r"rain_202001\.npy: cannot be read.*No such file"):
        store.read("rain", 0)


@pytest.mark.parametrize(
    "values",
    [RAIN[:2], RAIN[3:].astype(np.float64), np.float32(1)],
    ids=["fewer samples", "float64", "a number"],
)
def test_foreign_block_is_refused(tmp_path, values):
    store = make(tmp_path / "store")
    np.save(store.path / "rain_202002.npy", values)
    with pytest.raises(DataError, match=r"rain_202002\.npy: not the block that store\.json"):
        store.read("rain", 3)


def test_every_inverted_header_byte_is_refused(tmp_path):
    path = make(tmp_path / "store").path
    block = path / "rain_202001.npy"
    good = block.read_bytes()
    for position in range(128):
        damaged = bytearray(good)
        damaged[position] ^= 0xFF
        block.write_bytes(damaged)
        with pytest.raises(DataError, match=r"rain_202001\.npy: "):
            SampleStore(path).read("rain", 0)


def test_block_of_pickled_objects_is_refused(tmp_path):
    store = make(tmp_path / "store")
    np.save(store.path / "rain_202001.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"rain_202001\.npy: cannot be read"):
        store.read("rain", 0)

"""Files that changed after their download: prepare compares them with their sidecars."""

import os
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from download_runs import era5_config, store
from era5_files import days_of, write_file
from prepared_stores import SHORT, config_for

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns import downloaded_inputs
from tenkizu.patterns.download.downloader import download
from tenkizu.patterns.download.folder import adopt
from tenkizu.patterns.download.sidecar import file_sha256, sidecar_of
from tenkizu.patterns.download.wanted import Request, grid_of
from tenkizu.patterns.downloaded_inputs import require_same_bytes
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.reading.era5 import TASKS

AREA = (36.0, 140.0, 35.0, 141.0)
GRID: Grid = grid_of(AREA)
TASK = {task.name: task for task in TASKS}
DAYS = days_of(2001, 40)
YEARS = ((2000, 16), (2001, 16))


def written(folder, task="msl", times=DAYS, sidecar=True):
    """A NetCDF-3 file, which has no checksum of its own, as a download leaves it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"era5_{task}_{str(times[0])[:4]}.nc"
    write_file(path, TASK[task].fields, times, (GRID.y, GRID.x), "old")
    if sidecar:
        adopt(Request(path, TASK[task], times, AREA), None)
    return path


def flip(path, at=None):
    """Change a bit, of a value in mid-file by eight counts, and not the time of the file."""
    state, whole = path.stat(), bytearray(path.read_bytes())
    whole[len(whole) // 2 | 1 if at is None else at] ^= 8
    path.write_bytes(whole)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are read for their checksum, in order."""
    names = []

    def count(path):
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(downloaded_inputs, "file_sha256", count)
    return names


# ---------------------------------------------------------------------------- damage


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flipped_bit_is_found(workers, tmp_path, monkeypatch):
    monkeypatch.setattr("tenkizu.patterns.year_store.SMALL_BYTES", 0)  # two blocks
    times = days_of(2001, 60)
    path = written(tmp_path / "raw", times=times)
    good = sidecar_of(path).read_text().partition('"sha256": "')[2][:16]
    flip(path)
    config = config_for(tmp_path, [path], channels=SHORT, netcdf=False)
    with pytest.raises(DataError) as damage:
        prepare(config, workers=workers)
    assert str(damage.value) == (
        f"{path}: not what was downloaded and checked: the file is damaged or was changed; found "
        f"SHA-256 {file_sha256(path)[:16]}..., expected {good}... as era5_msl_2001.nc.json says\n"
        "  next: fetch it again: `tenkizu patterns download CONFIG --verify full`; if you changed "
        "it on purpose, delete era5_msl_2001.nc.json"
    )
    assert not config.data.store.exists()
    assert not list(tmp_path.glob("store.part/blocks/*.h5"))


def test_without_a_sidecar_a_file_is_taken_as_it_is(tmp_path, hashed):
    path = written(tmp_path / "raw")
    config = config_for(tmp_path, [path], channels=["msl"], netcdf=False)
    before = np.stack([prepare(config).read("maps", i) for i in range(40)])
    assert hashed == ["era5_msl_2001.nc"]
    sidecar_of(path).unlink()
    flip(path)
    after = prepare(config, overwrite=True)
    changed = np.stack([after.read("maps", i) for i in range(40)]) != before
    assert np.count_nonzero(changed) == 1
    assert hashed == ["era5_msl_2001.nc"]


def test_a_json_file_of_others_is_no_sidecar(tmp_path, hashed):
    path = written(tmp_path / "raw", sidecar=False)
    sidecar_of(path).write_text('{"size": "large"}')
    prepare(config_for(tmp_path, [path], channels=["msl"], netcdf=False))
    assert hashed == []


def test_another_size_is_said_before_anything_is_read(tmp_path, hashed):
    path = written(tmp_path / "raw")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=rf"found {size + 1} bytes, expected {size} bytes as era5_"):
        prepare(config_for(tmp_path, [path], channels=["msl"]))
    assert hashed == []


def test_the_sea_mask_is_not_made_of_a_changed_file(tmp_path):
    paths = [written(tmp_path / "raw", task) for task in ("msl", "sst")]
    flip(paths[1])
    config = config_for(tmp_path, paths, channels=["msl", "sst", "sea_mask"], netcdf=False)
    with pytest.raises(DataError, match=r"era5_sst_2001\.nc: not what was downloaded"):
        prepare(config)
    assert not (tmp_path / "store.part").exists()


def test_what_the_message_advises_helps(tmp_path, monkeypatch):
    config = era5_config(tmp_path, channels=["msl"])
    with store(monkeypatch):
        (path,) = download(config)
        with h5py.File(path) as file:
            chunk = file["msl"].id.get_chunk_info(0)
        flip(path, chunk.byte_offset + chunk.size // 2)
        with pytest.raises(DataError, match=r"(?s)not what was .*--verify full") as damage:
            prepare(config)
        assert str(path) in str(damage.value)
        assert download(era5_config(tmp_path, channels=["msl"], verify="full")) == [path]
    assert len(prepare(config)) == 365


# ---------------------------------------------------------------------------- once


def test_no_file_is_hashed_twice_even_after_an_interruption(tmp_path, monkeypatch, hashed):
    monkeypatch.setattr("tenkizu.patterns.year_store.DAYS", 8)
    monkeypatch.setattr("tenkizu.patterns.year_store.SMALL_BYTES", 0)
    paths = [written(tmp_path / "raw", times=days_of(year, days)) for year, days in YEARS]
    config = config_for(tmp_path, paths, channels=["msl"], netcdf=False)
    done = []

    def interrupt(items, _):
        for item in items:
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(item)
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare(config, track=interrupt)
    assert hashed == ["era5_msl_2000.nc", "era5_msl_2001.nc"]
    assert len(prepare(config)) == 32
    assert hashed == ["era5_msl_2000.nc", "era5_msl_2001.nc"]
    prepare(config_for(tmp_path / "again", paths, channels=["msl"], netcdf=False))
    assert len(hashed) == 4  # another store asks for itself


def test_a_file_that_is_written_to_is_compared_again(tmp_path, hashed):
    path = written(tmp_path / "raw")
    notes = tmp_path / "notes"
    notes.mkdir()
    require_same_bytes([path], notes)
    require_same_bytes([path], notes)
    assert len(hashed) == 1
    flip(path)
    os.utime(path)
    with pytest.raises(DataError, match="era5_msl_2001"):
        require_same_bytes([path], notes)


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "ab") as handle:
    fcntl.lockf(handle, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_processes_share_the_files_out_and_take_over_from_one_that_died(tmp_path, hashed):
    one, other = (written(tmp_path / "raw", task) for task in ("msl", "tcwv"))
    notes = tmp_path / "notes"
    notes.mkdir()
    require_same_bytes([one], notes)
    (note,) = notes.iterdir()
    note.write_bytes(b"")  # as of a process that is at it
    hashed.clear()
    command = [sys.executable, "-c", HOLDER, str(note)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        mine = threading.Thread(target=require_same_bytes, args=([one, other], notes))
        mine.start()
        mine.join(0.3)
        assert mine.is_alive()
        assert hashed == [other.name]
        holder.kill()
        mine.join(10)
    assert hashed == [other.name, one.name]
    assert all(note.stat().st_size for note in notes.iterdir())

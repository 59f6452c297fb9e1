"""The film that a training ends with."""

import logging

import numpy as np
import pytest
from option_networks import changed, export_network
from PIL import Image

from tenkizu.rain import film, run_film, train
from tenkizu.rain.cases import cases_of_store
from tenkizu.rain.model import RainModel
from tenkizu.rain.run_film import cases_around, draw_run_film


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    """Films are GIFs, whatever this machine has."""
    monkeypatch.setattr(film, "find_encoder", lambda: None)


@pytest.fixture
def drawn(monkeypatch):
    """Starts of the frames; to save time they are of one colour."""
    starts = []

    def draw(path, grid, start, *_, **__):
        starts.append(start)
        Image.new("RGB", (40, 20), (0, 0, 255)).save(path)
        return path

    monkeypatch.setattr(film, "draw_panels", draw)
    return starts


@pytest.fixture
def reported(monkeypatch):
    """Runs whose report is asked for; the other pictures of a run take too long here."""
    runs = []
    monkeypatch.setattr("tenkizu.rain.evaluation._draw", lambda *_: None)
    monkeypatch.setattr("tenkizu.rain.curves.draw_epoch_curves", lambda *_: [])
    monkeypatch.setattr("tenkizu.rain.reporting.report", runs.append)
    return runs


def hours(first, count):
    return list(np.datetime64(first, "m") + 180 * np.arange(count))


def test_a_run_ends_with_a_film_of_the_test_at_its_own_speed(tiny_config, drawn, reported, caplog):
    config = changed(tiny_config, plots__video=True, plots__video_fps=5, train__epochs=1)
    with caplog.at_level(logging.INFO, "tenkizu"):
        folder = train(config)
    path = folder / "evaluation" / "test" / "film.gif"
    assert f"film: {path}" in caplog.text
    with Image.open(path) as shown:
        assert shown.info["duration"] == 200
    # The test is shorter than two days: all its windows, in the order of time.
    assert drawn == hours("2023-06-03T03:00", 7)
    assert not (folder / "evaluation" / "validation" / "film.gif").exists()


def test_a_film_that_fails_loses_nothing(tiny_config, reported, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(run_film, "draw_film", full)
    splits = {**tiny_config.data.model_dump(mode="json")["splits"], "test": []}
    config = changed(tiny_config, plots__video=True, data__splits=splits, train__epochs=1)
    folder = train(config)
    assert "the film could not be made" in caplog.text
    assert (folder / "evaluation" / "validation" / "scores.json").exists()
    assert reported == [folder]


def test_two_days_around_the_heaviest_window(tiny_config, tiny_store, tmp_path, drawn):
    config = changed(tiny_config, data__store=str(tiny_store.path))
    model = export_network(tmp_path / "model", config, tiny_store)
    cases = cases_of_store(RainModel.load(model), "train")
    assert len(cases) == 23
    # t0 is three hours before the window, from 12:00.
    around = cases_around(cases, "2023-05-31_09")
    assert around.starts == hours("2023-05-30T12:00", 16)
    for index in (0, 15):
        expected = cases.read(cases.starts.index(around.starts[index]), 0)[0]
        np.testing.assert_array_equal(around.read(index, 0)[0], expected)
    path = draw_run_film(model, "train", "2023-05-30_00", tmp_path / "film.mp4")
    assert path == tmp_path / "film.gif"
    # That one is the second of the store: nearly all of the day before is missing.
    assert drawn == hours("2023-05-30T00:00", 9)

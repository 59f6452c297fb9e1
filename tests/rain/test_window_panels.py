"""Which windows of an evaluation are drawn, and within which limits."""

import numpy as np
import pytest
from option_networks import changed, export_network

from tenkizu.core.grid import Grid
from tenkizu.rain import plots
from tenkizu.rain.config import PlotsConfig
from tenkizu.rain.evaluation import evaluate_store
from tenkizu.rain.window_panels import WindowPanels

GRID = Grid("latlon", np.linspace(46.0, 45.0, 6), np.linspace(128.0, 129.0, 8))
START = np.datetime64("2023-11-03T00", "m")
RAIN = np.full((3, 6, 8), 700.0, np.float32)


def windows(output, count, settings):
    """Offer so many windows of three hours."""
    panels = WindowPanels(output, GRID, PlotsConfig(**settings), "observed")
    for k in range(count):
        panels.offer(START + k * np.timedelta64(3, "h"), RAIN, RAIN)
    return panels


@pytest.fixture
def drawn(monkeypatch):
    """Starts and options of the panels asked for, which are not drawn."""
    calls = []

    def draw(path, grid, start, predicted, truth, **options):
        calls.append((start, path.parent.name, options))

    monkeypatch.setattr(plots, "draw_panels", draw)
    return calls


@pytest.mark.parametrize(
    ("cases", "hours"),
    [("all", [0, 3, 6, 9, 12]), ("every 2", [0, 6, 12]), (3, []), ("3", []), (0, [])],
)
def test_windows_are_drawn_as_they_come(tmp_path, drawn, cases, hours):
    windows(tmp_path, 5, {"cases": cases})
    expected = [START + np.timedelta64(h, "h") for h in hours]
    assert [start for start, folder, _ in drawn if folder == "panels_log"] == expected
    assert [start for start, folder, _ in drawn if folder == "panels_linear"] == expected


@pytest.mark.parametrize(("limit", "upper"), [(None, 600.0), (100.0, 100.0)])
def test_the_linear_scale_ends_at_the_percentile_or_where_it_is_told(
    tmp_path, figures, limit, upper
):
    windows(tmp_path, 1, {"cases": "all", "linear_vmax_mm": limit})
    log, linear = figures
    assert log.axes[0].images[0].get_clim() == pytest.approx((0.1, 2100.0))
    assert linear.axes[0].images[0].get_clim() == (0.0, upper)
    assert (tmp_path / "panels_linear" / "validation_2023-11-02_21.png").exists()


def test_a_picture_that_fails_is_said_once_and_ends_nothing(tmp_path, monkeypatch, caplog):
    tried = []

    def draw(path, *_, **__):
        tried.append(path)
        raise OSError("no space left")

    monkeypatch.setattr(plots, "draw_panels", draw)
    windows(tmp_path, 4, {"cases": "all"})
    assert len(tried) == 1
    assert caplog.text.count("panels could not be drawn") == 1


def test_an_evaluation_draws_one_window_in_so_many_and_those_worth_a_look(
    tiny_config, tiny_store, tmp_path, drawn
):
    config = changed(
        tiny_config, plots__cases="every 3", scores__fss_windows=[], data__store=tiny_store.path
    )
    model = export_network(tmp_path / "model", config, tiny_store)
    scores = evaluate_store(model, tiny_store, "test", tmp_path / "scores", config)
    logs = [
        (str(start), options["subtitle"]) for start, folder, options in drawn if "log" in folder
    ]
    assert [start for start, subtitle in logs if not subtitle] == [
        "2023-06-03T03:00",
        "2023-06-03T12:00",
        "2023-06-03T21:00",
    ]
    assert len([subtitle for _, subtitle in logs if "most rain" in subtitle]) == 6
    assert len(scores["cases"]["heaviest"]) == 6


@pytest.mark.parametrize("cases", [-1, "every 0", "some", "every", "7 of"])
def test_other_choices_are_refused(cases):
    with pytest.raises(ValueError, match="a number of windows, all, or one in so many"):
        PlotsConfig(cases=cases)

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tenkizu.core import charts
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.rain import plots

GRID = Grid("latlon", np.linspace(46.0, 30.0, 33), np.linspace(128.0, 146.0, 37))
START = np.datetime64("2023-11-03T00")


def shower(hour):
    """A round shower of 20 mm that moves east, mm."""
    y, x = np.mgrid[:33, :37]
    amount = 20 * np.exp(-((y - 16) ** 2 + (x - 10 - 6 * hour) ** 2) / 30)
    return np.where(amount < 0.01, 0.0, amount)


TRUTH = np.stack([shower(k) for k in range(3)])
EQUAL = np.repeat(TRUTH.mean(axis=0, keepdims=True), 3, axis=0)


def maps(figure):
    return [ax for ax in figure.axes if ax.images]


def pixels_inside(path, ax):
    """Colours of the file within one panel, its frame left out, shape (n, 3), 0..255."""
    pixels = np.round(imread(path)[:, :, :3] * 255).astype(int)
    box = ax.get_window_extent()
    top, bottom = len(pixels) - int(box.y1) + 4, len(pixels) - int(box.y0) - 4
    return pixels[top:bottom, int(box.x0) + 4 : int(box.x1) - 4].reshape(-1, 3)


def grey_share(path, ax):
    """Share of a panel in the colour of missing cells; blends along coasts reach 1 %."""
    missing = np.round(np.array(to_rgb(charts.MISSING_COLOUR)) * 255)
    return float((pixels_inside(path, ax) == missing).all(axis=1).mean())


def texts(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def test_panels_are_named_by_the_initial_time():
    assert plots.panel_name(START) == "validation_2023-11-02_21.png"
    assert plots.panel_name(np.datetime64("2022-07-01T15:00:00.000")) == (
        "validation_2022-07-01_12.png"
    )


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_eight_panels_show_rain_with_hours_in_their_titles(tmp_path, figures, scale):
    path = plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, TRUTH, scale=scale)
    (figure,) = figures
    height, width = imread(path).shape[:2]
    assert width == 1600
    assert height % 2 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]
    panels = maps(figure)
    assert len(panels) == 8
    assert [ax.get_title() for ax in panels[:4]] == [
        "3 h sum  00:00\N{EN DASH}03:00 UTC",
        "FT+4  00:00\N{EN DASH}01:00 UTC",
        "FT+5  01:00\N{EN DASH}02:00 UTC",
        "FT+6  02:00\N{EN DASH}03:00 UTC",
    ]
    assert [panels[0].get_ylabel(), panels[4].get_ylabel()] == ["predicted", "observed"]
    assert figure.get_suptitle() == (
        "t0 2023-11-02 21:00 UTC,  valid 2023-11-03 00:00\N{EN DASH}03:00 UTC"
    )
    for ax in panels:
        assert len(np.unique(pixels_inside(path, ax), axis=0)) > 100
        assert grey_share(path, ax) < 0.01


def test_all_panels_share_the_limits_that_the_colour_bar_states(tmp_path, figures):
    plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, TRUTH, scale="log")
    (figure,) = figures
    eight = np.concatenate([EQUAL, TRUTH, EQUAL.sum(0)[None], TRUTH.sum(0)[None]])
    upper = np.percentile(eight[eight > 0], 99)
    for ax in maps(figure):
        assert ax.images[0].get_clim() == pytest.approx((0.1, upper))
    label = figure.axes[-1].get_ylabel()
    assert "mm" in label
    assert f"0.1 to {upper:.3g} mm" in label


def test_limits_by_hand():
    hundred = np.append(np.arange(1.0, 101.0), [0.0, np.nan])
    # The 99th percentile of 1..100 lies 0.99 * 99 steps above 1.
    assert plots.rain_limits([hundred], scale="log") == pytest.approx((0.1, 99.01))
    assert plots.rain_limits([hundred[:50], hundred[50:]], scale="linear") == pytest.approx(
        (0.0, 99.01)
    )
    assert plots.rain_limits([[0.2, 0.3]], scale="linear") == (0.0, 1.0)
    assert plots.rain_limits([[900.0, 900.0]], scale="linear") == (0.0, 600.0)
    assert plots.rain_limits([[0.05]], scale="log") == (0.1, 0.2)
    assert plots.rain_limits([[0.0, np.nan]], scale="log") == (0.1, 1.0)


def test_a_fixed_upper_limit_replaces_the_percentile(tmp_path, figures):
    plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, TRUTH, scale="linear", vmax_mm=600.0)
    assert maps(figures[0])[0].images[0].get_clim() == (0.0, 600.0)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_an_all_dry_window_says_no_rain(tmp_path, figures, scale):
    dry = np.zeros_like(TRUTH)
    path = plots.draw_panels(tmp_path / "p.png", GRID, START, dry, dry, scale=scale)
    (figure,) = figures
    assert texts(figure) == ["no rain"] * 8
    # White, dark coast, grey text and their blends: no colour at all.
    assert np.ptp(pixels_inside(path, maps(figure)[0]), axis=1).max() <= 2


def test_missing_cells_are_grey_and_an_hour_without_values_says_so(tmp_path, figures):
    holed = TRUTH.copy()
    holed[:, :6, :6] = np.nan
    holed[1] = np.nan
    path = plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, holed, scale="log")
    (figure,) = figures
    grey = [grey_share(path, ax) for ax in maps(figure)]
    assert max(grey[:4]) < 0.01
    # The coast and the label cover a little of the empty panels.
    assert min(grey[4], grey[6]) > 0.9
    corner = 36 / (33 * 37)
    assert [grey[5], grey[7]] == pytest.approx([corner, corner], rel=0.2)
    # Without its second hour the window has no sum either.
    assert texts(figure) == ["no data", "no data"]
    assert "grey: missing" in figure.axes[-1].get_ylabel()


def test_a_prediction_alone_is_one_row(tmp_path, figures):
    path = plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, None, scale="log")
    assert len(maps(figures[0])) == 4
    assert imread(path).shape[1] == 1600


@pytest.mark.parametrize(
    ("shape", "truth"),
    [
        ((30, 192), True),
        ((30, 192), False),
        ((192, 30), True),
        ((60, 130), False),
        ((60, 130), True),
    ],
)
def test_no_text_is_cut_off_or_touches_another(tmp_path, figures, shape, truth):
    grid = Grid("latlon", 46.0 - 0.1 * np.arange(shape[0]), 128.0 + 0.1 * np.arange(shape[1]))
    rain = np.random.default_rng(1).gamma(0.3, 6.0, (3, *shape))
    rain[:, 0, 0] = np.nan
    plots.draw_panels(tmp_path / "p.png", grid, START, rain, rain if truth else None, scale="log")
    (figure,) = figures
    width, height = figure.bbox.size
    texts_of = [
        (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels())
        for ax in figure.axes
    ]
    labels = [
        text.get_window_extent()
        for text in itertools.chain(*texts_of)
        if text.get_visible() and text.get_text()
    ]
    labels.append(figure._suptitle.get_window_extent())
    for box in labels:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    for one, other in itertools.combinations(labels, 2):
        assert not one.overlaps(other)
    # Beside the maps if there is room for its label, else below.
    low = (1 + truth) * maps(figure)[0].get_window_extent().height < 340
    assert bool(figure.axes[-1].get_xlabel()) == low


def test_drizzle_below_the_lower_limit_is_named(tmp_path, figures):
    drizzle = np.full_like(TRUTH, 0.01)
    plots.draw_panels(tmp_path / "p.png", GRID, START, drizzle, None, scale="log")
    assert texts(figures[0]) == ["no rain ≥ 0.1 mm"] * 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scale": "log", "vmin_mm": 0.0}, "plots.lognorm_vmin_mm.*found 0.0"),
        ({"scale": "log", "vmax_mm": 0.05}, "vmax_mm.*expected more than 0.1 mm"),
    ],
)
def test_impossible_limits_are_refused(tmp_path, options, error):
    with pytest.raises(ConfigError, match=error):
        plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, TRUTH, **options)


def test_arrays_off_the_grid_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"truth.*found shape \(2, 33, 37\)"):
        plots.draw_panels(tmp_path / "p.png", GRID, START, EQUAL, TRUTH[:2], scale="log")


HISTORY = {
    "epoch": [0, 1, 2, 3],
    "train_loss": [1.2, 0.9, 0.8, 0.7],
    "val_loss": [1.1, 0.95, 0.9, 0.93],
    "val_rmse_1h": [0.52, 0.45, 0.4321, 0.44],
    "val_skill": [None, 0.2, 0.31, 0.28],
    "best_epoch": 2,
}


def test_loss_curve_marks_the_best_epoch_with_its_values(tmp_path, figures):
    path = plots.draw_loss_curve(tmp_path / "loss_curve.png", HISTORY)
    assert imread(path).shape[1] == 1600
    loss, rmse, skill = figures[0].axes
    assert loss.get_title(loc="right") == "best epoch 2: validation 0.9"
    assert rmse.get_title(loc="right") == "best epoch 2: validation 0.4321 mm"
    assert skill.get_title(loc="right") == "best epoch 2: validation 0.31"
    assert skill.get_xlim() == (-0.5, 3.5)
    assert [t.get_text() for t in loss.get_legend().get_texts()] == [
        "training, augmented",
        "validation",
    ]


def test_loss_curve_of_one_epoch_without_skill(tmp_path, figures):
    first = {k: v[:1] if isinstance(v, list) else 0 for k, v in HISTORY.items()}
    plots.draw_loss_curve(tmp_path / "loss_curve.png", first)
    bottom = figures[0].axes[-1]
    assert bottom.get_xlim() == (-0.5, 0.5)
    assert [tick for tick in bottom.get_xticks() if abs(tick) <= 0.5] == [0.0]
    assert texts(figures[0]) == ["not computed"]


def test_loss_curve_without_validation_or_best_epoch(tmp_path, figures):
    history = {"epoch": [0, 1], "train_loss": [1.0, 0.9], "best_epoch": None}
    plots.draw_loss_curve(tmp_path / "loss_curve.png", history)
    assert texts(figures[0]) == ["not computed"] * 2


def test_loss_curve_without_epochs_is_refused(tmp_path):
    with pytest.raises(DataError, match="no epoch"):
        plots.draw_loss_curve(tmp_path / "loss_curve.png", {"epoch": []})


def test_comparison_prints_values_beside_bars_of_their_length(tmp_path, figures):
    rows = [("equal", -0.0), ("linear", 0.23), ("direct", -0.18), ("advection", float("nan"))]
    path = plots.draw_hourly_comparison(tmp_path / "c.png", rows)
    assert imread(path).shape[1] == 1600
    (ax,) = figures[0].axes
    assert texts(figures[0]) == ["+0.000", "+0.230", "\N{MINUS SIGN}0.180", "undefined"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.0, 0.23, -0.18, 0.0])
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "equal",
        "linear",
        "direct",
        "advection",
    ]
    # The first method stands on top.
    assert ax.transData.transform((0, 0))[1] > ax.transData.transform((0, 3))[1]


def test_comparison_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no method"):
        plots.draw_hourly_comparison(tmp_path / "c.png", [])

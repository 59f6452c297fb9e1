import json

import numpy as np
import pytest
from day_tables import LABELS, MAJORS, make_table
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from sklearn.metrics import average_precision_score, precision_recall_curve

from tenkizu.core.errors import DataError
from tenkizu.core.store import plain
from tenkizu.patterns.figures.calendar_chart import (
    ABSENT_COLOUR,
    MAJOR_COLOURS,
    NOTHING_COLOUR,
    draw_calendar,
)
from tenkizu.patterns.figures.class_panels import (
    draw_confusion_matrices,
    draw_pr_curves,
    draw_reliability,
)
from tenkizu.patterns.figures.loss_curve import draw_loss_curve
from tenkizu.patterns.figures.score_bars import draw_class_bars
from tenkizu.patterns.verification.days import DayTable, kind_of
from tenkizu.patterns.verification.scores import score_days
from tenkizu.patterns.verification.thresholds import tune_thresholds

TABLE = make_table(days=300)


@pytest.fixture(scope="module")
def scores():
    """As ``scores.json`` holds them."""
    thresholds = tune_thresholds(TABLE.truth, TABLE.calibrated, LABELS)
    share = np.tile(TABLE.truth.mean(axis=0), (len(TABLE), 1))
    yesterday = np.vstack([np.full((1, 4), np.nan), TABLE.truth[:-1]])
    baselines = {"prevalence": share, "persistence": yesterday}
    found = score_days(TABLE, MAJORS, thresholds, "held-out", baselines, resamples=50)
    return json.loads(json.dumps(plain(found)))


def texts(ax):
    return [t.get_text() for t in ax.texts]


def without(scores, label, **changes):
    """Scores in which a class has other entries."""
    classes = {k: v | changes if k == label else v for k, v in scores["classes"].items()}
    return scores | {"classes": classes}


# Confusion matrices.


def test_each_class_has_a_panel_with_its_four_counts(figures, scores, tmp_path):
    path = draw_confusion_matrices(tmp_path / "confusion_matrices.png", scores)
    panels = [ax for ax in figures[0].axes if ax.images]
    assert [ax.get_title() for ax in panels] == list(LABELS)
    for i, ax in enumerate(panels):
        truth, predicted = TABLE.truth[:, i], TABLE.predicted[:, i]
        counts = [
            (~truth & ~predicted).sum(),
            (~truth & predicted).sum(),
            (truth & ~predicted).sum(),
            (truth & predicted).sum(),
        ]
        assert texts(ax) == [str(n) for n in counts]
        assert ax.images[0].cmap.name == "Blues"
    assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in panels}) == 1
    # Five columns of 3 inches, one row of 3 inches and a colour bar.
    height, width = imread(path).shape[:2]
    assert width == 5 * 3 * 150
    assert 3 * 150 < height < 4 * 150


def test_fifteen_classes_fill_three_rows_of_five(figures, scores, tmp_path):
    entry = scores["classes"]["1"]
    many = {"classes": {f"{i}A": entry for i in range(15)}}
    draw_confusion_matrices(tmp_path / "c.png", many)
    panels = [ax for ax in figures[0].axes if ax.images]
    places = [ax.get_position() for ax in panels]
    assert len({round(p.x0, 3) for p in places}) == 5
    assert len({round(p.y0, 3) for p in places}) == 3


def test_a_class_without_threshold_says_so(figures, scores, tmp_path):
    draw_confusion_matrices(tmp_path / "c.png", without(scores, "2A", decided=False))
    assert figures[0].axes[1].get_title() == "2A: no threshold"


# Precision and recall, reliability.


def test_curves_run_through_the_points_of_scikit_learn(figures, tmp_path):
    draw_pr_curves(tmp_path / "pr.png", TABLE)
    for i, ax in enumerate(figures[0].axes[:4]):
        truth, probs = TABLE.truth[:, i], TABLE.raw[:, i]
        curve = next(line for line in ax.lines if line.get_drawstyle() == "steps-pre")
        drawn = set(zip(*(np.round(v, 9) for v in curve.get_data()), strict=True))
        precision, recall, _ = precision_recall_curve(truth, probs)
        expected = {
            point
            for point in zip(np.round(recall, 9), np.round(precision, 9), strict=True)
            if point[0] > 0
        }
        assert expected <= drawn
        # The steps enclose the area that is AP.
        x, y = curve.get_data()
        area = (np.diff(x) * y[1:]).sum()
        assert area == pytest.approx(average_precision_score(truth, probs))
        assert f"{area:.3f}" in ax.get_title(loc="left")


def test_the_decisions_are_marked_where_they_lie(figures, tmp_path):
    draw_pr_curves(tmp_path / "pr.png", TABLE)
    ax = figures[0].axes[2]
    (point,) = (line for line in ax.lines if line.get_marker() == "o")
    truth, predicted = TABLE.truth[:, 2], TABLE.predicted[:, 2]
    hits = (truth & predicted).sum()
    assert point.get_xydata().ravel() == pytest.approx([hits / truth.sum(), hits / predicted.sum()])


def test_a_class_on_no_day_has_no_curve(figures, tmp_path):
    truth = TABLE.truth.copy()
    truth[:, 3] = False
    table = make_table(days=300, truth=truth)
    draw_pr_curves(tmp_path / "pr.png", table)
    ax = figures[0].axes[3]
    assert "on no day" in texts(ax)
    assert ax.get_title(loc="left") == "3   n/a"


def test_reliability_shows_both_curves_and_all_classes_together(figures, scores, tmp_path):
    draw_reliability(tmp_path / "reliability.png", scores)
    panels = figures[0].axes[:5]
    assert panels[-1].get_title(loc="left").startswith("all classes")
    found = scores["classes"]["2A"]["reliability"]
    diagonal, raw, calibrated = panels[1].lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    for line, kind in ((raw, "raw"), (calibrated, "calibrated")):
        np.testing.assert_allclose(line.get_xdata(), found[kind]["mean_probability"])
        np.testing.assert_allclose(line.get_ydata(), found[kind]["observed_share"])
        assert line.get_label() == kind
    ece = [f"{found[kind]['ece']:.3f}" for kind in ("calibrated", "raw")]
    assert panels[1].get_title(loc="left") == f"2A   {ece[0]} ({ece[1]})"


@pytest.mark.parametrize("draw", [draw_confusion_matrices, draw_reliability, draw_class_bars])
def test_scores_without_classes_are_refused(tmp_path, draw):
    with pytest.raises(DataError, match="no class to draw"):
        draw(tmp_path / "c.png", {"map": 0.5})


# Bars.


def test_bars_reach_the_average_precision_and_baselines_lie_across(figures, scores, tmp_path):
    draw_class_bars(tmp_path / "bars.png", scores)
    (ax,) = figures[0].axes
    heights = [bar.get_height() for bar in ax.patches]
    expected = [scores["map"], *(c["ap"] for c in scores["classes"].values())]
    np.testing.assert_allclose(heights, expected)
    marks = [
        segment[0][1]
        for collection in ax.collections
        for segment in collection.get_segments()
        if segment[0][1] == segment[-1][1]
    ]
    for name in ("prevalence", "persistence"):
        found = scores["baselines"][name]
        for value in (found["map"], *found["ap"].values()):
            assert np.isclose(marks, value).any()
    labels = [t.get_text() for t in figures[0].legends[0].get_texts()]
    assert labels[:3] == ["model", "95 % interval", "prevalence"]
    assert "not available to a classifier" in labels[3]


def test_an_undefined_class_is_named_and_has_no_bar(figures, scores, tmp_path):
    draw_class_bars(tmp_path / "bars.png", without(scores, "2B", ap=None, intervals=None))
    (ax,) = figures[0].axes
    assert texts(ax) == ["undefined"]
    assert ax.patches[3].get_height() == 0.0


# The loss curve.

HISTORY = {
    "train_loss": [0.6, 0.5, 0.4],
    "val_loss": [0.7, 0.5, 0.6],
    "val_map": [0.2, 0.45, 0.4],
    "best_epoch": 2,
}


def test_the_loss_curve_is_six_by_four_inches_at_150_dots(figures, tmp_path):
    path = draw_loss_curve(tmp_path / "loss_curve.png", HISTORY)
    assert imread(path).shape[:2] == (600, 900)
    loss, ap = figures[0].axes
    assert loss.get_position().y0 > ap.get_position().y0
    drawn = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert drawn["training"] == HISTORY["train_loss"]
    assert drawn["validation"] == HISTORY["val_loss"]
    assert HISTORY["val_map"] in [list(line.get_ydata()) for line in ap.lines]
    for ax in (loss, ap):
        (dashed,) = (line for line in ax.lines if line.is_dashed())
        assert list(dashed.get_xdata()) == [2, 2]
    assert "best epoch 2: validation 0.45" in ap.get_title(loc="right")


def test_a_history_without_map_still_shows_the_losses(figures, tmp_path):
    draw_loss_curve(tmp_path / "loss_curve.png", HISTORY | {"val_map": [None] * 3})
    assert "not computed" in texts(figures[0].axes[1])


def test_a_history_without_epochs_is_refused(tmp_path):
    with pytest.raises(DataError, match="no epoch to draw"):
        draw_loss_curve(tmp_path / "loss_curve.png", {"val_loss": []})


# The calendar.


def days_of(dates, observed, predicted, calibrated=None):
    """A table from label strings."""

    def hot(strings):
        return np.array([[x in s.replace("-", "+").split("+") for x in LABELS] for s in strings])

    probs = np.full((len(dates), 4), 0.5) if calibrated is None else np.array(calibrated)
    return DayTable(
        LABELS,
        np.array(dates, "datetime64[m]"),
        observed,
        [kind_of(text) for text in observed],
        hot(observed),
        probs,
        probs,
        hot(predicted),
        np.ones(4, bool),
    )


def strips(ax):
    """Colours (height, 366, 3) of a year, observed in the upper half."""
    return np.asarray(ax.images[0].get_array())


def colours(column):
    """Colours of half a column from the top, each once."""
    return list(dict.fromkeys(map(tuple, column.round(6).tolist())))


ONE, TWO, THREE = (tuple(np.round(to_rgb(c), 6)) for c in MAJOR_COLOURS[:3])


def test_years_are_rows_and_months_stand_under_each_other(figures, tmp_path):
    dates = ["1999-03-01", "2000-02-29", "2000-03-01"]
    draw_calendar(tmp_path / "c.png", days_of(dates, ["1", "3", "1"], ["1", "3", "3"]), MAJORS)
    first, second = figures[0].axes
    assert [ax.get_ylabel() for ax in (first, second)] == ["1999", "2000"]
    assert colours(strips(first)[:12, 60]) == [ONE]
    assert colours(strips(second)[:12, 60]) == [ONE]
    assert colours(strips(second)[:12, 59]) == [THREE]
    # 29 February 1999 and all other days are not in the table.
    assert colours(strips(first)[:12, 59]) == [to_rgb(ABSENT_COLOUR)]


def test_observed_stands_above_predicted_and_nothing_predicted_is_grey(figures, tmp_path):
    draw_calendar(tmp_path / "c.png", days_of(["1999-01-02"], ["3"], [""]), MAJORS)
    column = strips(figures[0].axes[0])[:, 1]
    assert colours(column[:12]) == [THREE]
    assert colours(column[-12:]) == [tuple(np.round(to_rgb(NOTHING_COLOUR), 6))]
    legend = [t.get_text() for t in figures[0].legends[0].get_texts()]
    assert legend == ["1", "2", "3", "none"]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [("1-3", [ONE, THREE]), ("3-1", [THREE, ONE]), ("3+2A", [THREE, TWO]), ("2A+2B", [TWO])],
)
def test_two_types_split_the_day_in_the_order_of_its_label(figures, tmp_path, observed, expected):
    draw_calendar(tmp_path / "c.png", days_of(["1999-01-01"], [observed], ["1"]), MAJORS)
    column = strips(figures[0].axes[0])[:12, 0]
    assert colours(column) == expected
    if len(expected) == 2:
        assert (column[:6] == column[0]).all()
        assert (column[6:] == column[-1]).all()


def test_the_likelier_of_two_predicted_types_is_above(figures, tmp_path):
    table = days_of(["1999-01-01"], ["1"], ["1+3"], [[0.6, 0.1, 0.1, 0.9]])
    names = {"1": "winter", "2": "low", "3": "high"}
    draw_calendar(tmp_path / "c.png", table, MAJORS, names)
    assert colours(strips(figures[0].axes[0])[-12:, 0]) == [THREE, ONE]
    legend = [t.get_text() for t in figures[0].legends[0].get_texts()]
    assert legend == ["1  winter", "2  low", "3  high"]


def test_majors_of_other_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 majors for 4 labels"):
        draw_calendar(tmp_path / "c.png", TABLE, MAJORS[:2])

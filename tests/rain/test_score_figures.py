import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.image import imread

from tenkizu.core import charts
from tenkizu.core.errors import DataError
from tenkizu.rain.improvement_maps import block_side, draw_improvement_maps
from tenkizu.rain.score_figures import (
    draw_fss_matrix,
    draw_performance_diagram,
    score_drawings,
)
from tenkizu.rain.spectra_figure import draw_spectra


@pytest.fixture
def figures(monkeypatch):
    """The figures made during a test; to save time they are not written."""
    kept = []

    def keep(figure, path):
        kept.append(figure)
        return path

    monkeypatch.setattr(charts, "save_figure", keep)
    return kept


FSS = {
    "thresholds_mm": [1.0, 50.0],
    "windows_cells": [1, 3, 65],
    "windows_km": [5.0, 15.0, 325.0],
    "fields": [48, 48, 0],
    "base_rate": [0.2, 0.0],
    "useful": [0.6, 0.5],
    "model": [[0.55, 0.8, None], [None, None, None]],
    "equal": [[0.6, 0.7, None], [None, None, None]],
}


def texts(ax):
    return [t.get_text() for t in ax.texts]


def test_fss_prints_values_differences_and_what_is_undefined(tmp_path, figures):
    draw_fss_matrix(tmp_path / "fss.png", FSS)
    model, gain = figures[0].axes
    empty = ["no\nevent", "no\nevent", "wider\nthan grid"]
    assert texts(model) == ["0.55", "0.80", "wider\nthan grid", *empty]
    assert texts(gain) == ["\N{MINUS SIGN}0.05", "+0.10", "wider\nthan grid", *empty]
    assert [t.get_text() for t in model.get_xticklabels()] == ["1\n5", "3\n15", "65\n325"]
    assert model.get_xlabel() == "side of the window (cells, below in km)"
    assert [t.get_text() for t in model.get_yticklabels()] == ["≥ 1", "≥ 50"]
    assert model.images[0].get_clim() == (0.0, 1.0)
    # Centred at no difference.
    assert gain.images[0].get_clim() == pytest.approx((-0.1, 0.1))


def test_fss_outlines_useful_skill_alone(tmp_path, figures):
    draw_fss_matrix(tmp_path / "fss.png", FSS)
    model, gain = figures[0].axes
    # 0.8 reaches the useful 0.6 and 0.55 does not: four sides around the cell of row 0, column 1.
    sides = {tuple(map(tuple, line.get_xydata().tolist())) for line in model.lines}
    assert sides == {
        ((0.5, -0.5), (1.5, -0.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((0.5, -0.5), (0.5, 0.5)),
        ((1.5, -0.5), (1.5, 0.5)),
    }
    assert not gain.lines


def test_two_useful_neighbours_share_one_outline(tmp_path, figures):
    draw_fss_matrix(tmp_path / "fss.png", FSS | {"model": [[0.7, 0.8, None], [None] * 3]})
    assert len(figures[0].axes[0].lines) == 6


def test_fss_without_baseline_or_distances(tmp_path, figures):
    alone = {k: v for k, v in FSS.items() if k != "equal"} | {"windows_km": None}
    draw_fss_matrix(tmp_path / "fss.png", alone)
    (ax,) = figures[0].axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "3", "65"]


def test_fss_is_compared_with_the_best_baseline_too(tmp_path, figures):
    motion = {"motion": [[0.75, 0.75, None], [None] * 3]}
    draw_fss_matrix(tmp_path / "fss.png", FSS | motion, "motion")
    _, equal, best = figures[0].axes
    assert best.get_title(loc="left").endswith("motion,\nthe best baseline")
    assert texts(best)[:2] == ["\N{MINUS SIGN}0.20", "+0.05"]
    # Both differences are coloured alike.
    assert equal.images[0].get_clim() == best.images[0].get_clim() == pytest.approx((-0.2, 0.2))
    draw_fss_matrix(tmp_path / "fss.png", FSS, "equal")
    assert len(figures[1].axes) == 2
    assert "best" not in figures[1].axes[1].get_title(loc="left")


def test_fss_of_a_dry_evaluation(tmp_path, figures):
    nothing = [[None] * 3] * 2
    dry = FSS | {"model": nothing, "equal": nothing, "useful": [None, None]}
    draw_fss_matrix(tmp_path / "fss.png", dry)
    assert set(texts(figures[0].axes[0])) == {"no\nevent", "wider\nthan grid"}


def test_fss_of_another_shape_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"fss\.equal.*found shape \(1, 3\)"):
        draw_fss_matrix(tmp_path / "fss.png", FSS | {"equal": [[0.1, 0.2, 0.3]]})


def events(pod, ratio):
    return {"probability_of_detection": pod, "success_ratio": ratio}


BINARY = {
    "model": {"pooled": {"1": events(0.8, 0.7), "10": events(0.5, 0.6), "50": events(None, None)}},
    "equal": {"pooled": {"1": events(0.7, 0.6), "10": events(0.0, None), "50": events(None, None)}},
}


def test_performance_diagram_has_one_marker_a_threshold(tmp_path, figures):
    draw_performance_diagram(tmp_path / "p.png", BINARY)
    ax = figures[0].axes[0]
    marked = [line for line in ax.lines if line.get_marker() not in ("", "None", None)]
    places = [
        (line.get_marker(), *map(float, (*line.get_xdata(), *line.get_ydata()))) for line in marked
    ]
    assert places == [("o", 0.7, 0.8), ("s", 0.6, 0.5), ("o", 0.6, 0.7)]
    (legend,) = figures[0].legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "model",
        "equal split S/3",
        "≥ 1 mm",
        "≥ 10 mm",
        "≥ 50 mm, undefined",
    ]


def test_contours_and_rays_of_the_diagram_are_those_of_the_counts(tmp_path, figures):
    draw_performance_diagram(tmp_path / "p.png", BINARY)
    ax = figures[0].axes[0]
    (contours,) = (c for c in ax.collections if hasattr(c, "levels"))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        ratio, pod = path.vertices[:: len(path.vertices) // 3][:3].T
        # Take one hit: the misses and false alarms follow, and CSI from the three counts.
        misses, false_alarms = 1 / pod - 1, 1 / ratio - 1
        np.testing.assert_allclose(1 / (1 + misses + false_alarms), level, atol=0.005)
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    slopes = {round(float(y[1] / x[1]), 6) for x, y in (line.get_data() for line in dashed)}
    assert slopes == {0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0}
    assert {"0.2", "1", "5"} <= set(texts(ax))


def test_a_performance_diagram_without_a_point_has_one_note(tmp_path, figures):
    dry = {m: {"pooled": {t: events(None, None) for t in ("1", "10")}} for m in ("model", "equal")}
    draw_performance_diagram(tmp_path / "p.png", dry)
    notes = [text for text in texts(figures[0].axes[0]) if "events" in text]
    assert notes == ["at no threshold are events both observed and predicted"]
    (legend,) = figures[0].legends
    assert [t.get_text() for t in legend.get_texts()] == ["model", "equal split S/3"]


def test_performance_diagram_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no method"):
        draw_performance_diagram(tmp_path / "p.png", {})


SHAPE = (4, 6)


def write_maps(path, **changed):
    """Maps in which every cell was evaluated 40 times, won 30 times and has skill 0.25."""
    total = np.full(SHAPE, 40)
    content = {
        "improved_count_map": np.full(SHAPE, 30),
        "total_count_map": total,
        "tie_count_map": np.zeros(SHAPE, np.int64),
        "loss_count_map": np.full(SHAPE, 10),
        "sse_model_map": np.full(SHAPE, 60.0),
        "sse_base_map": np.full(SHAPE, 80.0),
        "mean_sse_diff_map": np.full(SHAPE, -0.5),
        "n_times": 50,
        "lat": np.linspace(36.0, 33.0, 4),
        "lon": np.linspace(135.0, 140.0, 6),
    }
    np.savez(path, **(content | changed))
    return path


def drawn(figure):
    """Values and colour limits of the three maps."""
    images = [ax.images[0] for ax in figure.axes if ax.images]
    return [(image.get_array(), image.get_clim()) for image in images]


def test_improvement_maps_show_rates_differences_and_skill(tmp_path, figures):
    maps = write_maps(tmp_path / "equal_split_maps.npz")
    draw_improvement_maps(tmp_path / "m.png", maps)
    (rate, rate_limits), (difference, limits), (skill, skill_limits) = drawn(figures[0])
    assert (rate == 0.75).all()
    assert (difference == -0.5).all()
    assert (skill == 0.25).all()
    assert sum(rate_limits) / 2 == pytest.approx(0.5)
    assert sum(limits) == sum(skill_limits) == 0.0
    # Blue is the model's colour on every map: high rates and skills, low errors.
    for ax in figures[0].axes[:3]:
        image = ax.images[0]
        red, _, blue, _ = image.cmap(image.norm(image.get_array()[0, 0]))
        assert blue > red
    labels = [ax.get_xlabel() for ax in figures[0].axes[3:]]
    assert labels == ["share of the evaluated times", "mm², three hours", "1 = exact"]
    assert "30" in figures[0].get_suptitle()


def test_cells_with_few_evaluations_are_grey(tmp_path, figures):
    total = np.full(SHAPE, 40)
    total[0, 0], total[1, 1], total[2, 2] = 0, 29, 30
    maps = write_maps(tmp_path / "m.npz", total_count_map=total)
    draw_improvement_maps(tmp_path / "m.png", maps)
    for values, _ in drawn(figures[0]):
        assert np.argwhere(np.ma.getmaskarray(values)).tolist() == [[0, 0], [1, 1]]
    assert figures[0].axes[0].images[0].cmap.get_bad().tolist()[:3] == pytest.approx(
        [0xD4 / 255] * 3
    )


def test_a_very_short_evaluation_says_why_its_maps_are_grey(tmp_path, figures):
    # Even blocks of 2 x 2 have 28; on 4 x 6 cells larger ones are no map.
    maps = write_maps(tmp_path / "m.npz", total_count_map=np.full(SHAPE, 7))
    draw_improvement_maps(tmp_path / "m.png", maps)
    assert texts(figures[0].axes[0]) == ["no cell with 30 evaluations"]
    assert "blocks" not in figures[0].get_suptitle()


def test_a_short_evaluation_is_drawn_in_blocks_of_summed_counts_and_errors(tmp_path, figures):
    """On 5 x 6 cells the last row of blocks has one row of cells."""
    shape = (5, 6)
    total, wins = np.full(shape, 16), np.full(shape, 4)
    model, base = np.full(shape, 2.0), np.full(shape, 4.0)
    # One cell of the first block won nothing and erred much; by cells its skill is -24.
    wins[1, 1], model[1, 1] = 0, 100.0
    # A cell that was never evaluated adds nothing, also where its sums are not numbers.
    total[0, 2], wins[0, 2], model[0, 2], base[0, 2] = 0, 0, np.nan, np.nan
    # One block in the last row has 24 evaluations, too few; the others there have 32.
    total[4, 4:] = 12
    maps = write_maps(
        tmp_path / "m.npz",
        total_count_map=total,
        improved_count_map=wins,
        sse_model_map=model,
        sse_base_map=base,
        mean_sse_diff_map=np.full(shape, -99.0),
        lat=np.linspace(36.0, 32.0, 5),
    )
    draw_improvement_maps(tmp_path / "m.png", maps)
    assert "blocks of 2 x 2 cells, up to 64 evaluations each" in figures[0].get_suptitle()
    # Wins 12 of 64; SSE 3 x 2 + 100 = 106 against 4 x 4 = 16.
    first = (12 / 64, (106 - 16) / 64, 1 - 106 / 16)
    # Wins 12 of 48 in three cells; SSE 6 against 12.
    second = (12 / 48, (6 - 12) / 48, 1 - 6 / 12)
    # Two cells: wins 8 of 32; SSE 4 against 8.
    edge = (8 / 32, (4 - 8) / 32, 1 - 4 / 8)
    for k, (values, _) in enumerate(drawn(figures[0])):
        assert values.shape == shape
        np.testing.assert_allclose(values[:2, :2], first[k])
        np.testing.assert_allclose(values[:2, 2:4], second[k])
        np.testing.assert_allclose(values[4, :4], edge[k])
        assert np.argwhere(np.ma.getmaskarray(values)).tolist() == [[4, 4], [4, 5]]


@pytest.mark.parametrize(
    ("evaluations", "side"), [(30, 1), (16, 2), (7, 4), (2, 4), (1, 8), (0, 1)]
)
def test_blocks_are_no_larger_than_they_must_be(evaluations, side):
    assert block_side(np.full((32, 40), evaluations)) == side


def test_half_of_what_was_evaluated_is_enough():
    total = np.full((32, 40), 4)
    total[:, :20] = 30
    assert block_side(total) == 1
    total[0, 0] = 29
    assert block_side(total) == 2
    # What was never evaluated, such as cells out of the radar's reach, does not count.
    total[:, 20:] = 0
    assert block_side(total) == 1
    # Wide blocks would be no map: 16 x 16 cells with 1 in each quarter have 16 only.
    sparse = np.zeros((64, 64), int)
    sparse[::4, ::4] = 1
    assert block_side(sparse) == 1


def has_coast(figure):
    return any(isinstance(c, LineCollection) for ax in figure.axes[:3] for c in ax.collections)


def test_coastlines_need_latitudes_and_longitudes(tmp_path, figures):
    unknown = {"lat": np.full(4, np.nan), "lon": np.full(6, np.nan)}
    y, x = np.arange(4.0)[::-1], np.arange(6.0)
    draw_improvement_maps(tmp_path / "a.png", write_maps(tmp_path / "a.npz"))
    projected = {"y": y, "x": x, "axis_units": "km"}
    draw_improvement_maps(
        tmp_path / "b.png", write_maps(tmp_path / "b.npz", **unknown, **projected)
    )
    draw_improvement_maps(tmp_path / "c.png", write_maps(tmp_path / "c.npz", **unknown))
    with np.load(tmp_path / "a.npz") as found:
        lat, lon = np.meshgrid(found["lat"], found["lon"], indexing="ij")
    cells = {"cell_lat": lat, "cell_lon": lon}
    draw_improvement_maps(tmp_path / "d.png", write_maps(tmp_path / "d.npz", **unknown, **cells))
    assert [has_coast(f) for f in figures] == [True, False, False, True]
    assert [f.axes[0].get_xlabel() for f in figures] == ["", "km", "cells", "cells"]


def test_damaged_maps_are_named(tmp_path):
    maps = tmp_path / "equal_split_maps.npz"
    maps.write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match=r"equal_split_maps\.npz: cannot be read"):
        draw_improvement_maps(tmp_path / "m.png", maps)
    np.savez(maps, improved_count_map=np.zeros(SHAPE))
    with pytest.raises(DataError, match="total_count_map: a map is missing"):
        draw_improvement_maps(tmp_path / "m.png", maps)


def hours(values):
    return {"FT+4": values, "pooled": values}


SPECTRA = {
    "windows_used": 7,
    "wavelengths_km": [80.0, 40.0, 20.0],
    "wavelengths_cells": [8.0, 4.0, 2.0],
    "power": {
        "truth": hours([1.0, 0.1, 0.0]),
        "model": hours([0.9, 0.05, 0.0]),
        "linear": hours([0.7, 0.03, 0.0]),
        "equal": hours([0.8, 0.02, 0.0]),
    },
    "ratio": {
        "model": hours([0.9, 0.5, None]),
        "linear": hours([0.7, 0.3, None]),
        "equal": hours([0.8, 0.2, None]),
    },
}


def test_spectra_run_from_long_waves_to_short_with_their_ratio_below(tmp_path, figures):
    draw_spectra(tmp_path / "s.png", SPECTRA)
    power, ratio = figures[0].axes
    assert [t.get_text() for t in power.get_legend().get_texts()] == [
        "truth",
        "model",
        "equal split S/3",
    ]
    assert ratio.get_xlim() == (80.0, 20.0)
    assert (power.get_xscale(), power.get_yscale(), ratio.get_yscale()) == ("log", "log", "linear")
    np.testing.assert_array_equal(power.lines[0].get_ydata(), [1.0, 0.1, np.nan])
    np.testing.assert_array_equal(ratio.lines[0].get_ydata(), [0.9, 0.5, np.nan])
    assert ratio.lines[-1].get_ydata() == [1.0, 1.0]
    assert "7 windows" in figures[0].get_suptitle()


def test_spectra_without_a_spacing_are_in_cells(tmp_path, figures):
    draw_spectra(tmp_path / "s.png", SPECTRA | {"wavelengths_km": None})
    assert figures[0].axes[1].get_xlabel() == "wavelength (cells)"
    assert figures[0].axes[1].get_xlim() == (8.0, 2.0)


def test_an_evaluation_is_drawn_as_far_as_it_goes(tmp_path):
    assert score_drawings(tmp_path, {}) == {}
    write_maps(tmp_path / "equal_split_maps.npz")
    drawings = score_drawings(tmp_path, {"fss": FSS, "binary_hourly": BINARY, "spectra": SPECTRA})
    for name, draw in drawings.items():
        height, width = imread(draw(tmp_path / name)).shape[:2]
        assert (width, height % 2) == (1600, 0)
    assert sorted(drawings) == ["fss.png", "improvement_maps.png", "performance.png", "spectra.png"]

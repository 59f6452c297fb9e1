"""Power spectra against waves of known variance, noise, and a Fourier sum written out."""

import json
from itertools import pairwise

import numpy as np
import pytest

from tenkizu.rain.score_figures import score_drawings
from tenkizu.rain.score_text import spectra_lines
from tenkizu.rain.spectra import MIN_SIDE, Rings, Spectra, centred_rectangle, near


def wave(shape, rows, columns, amplitude=1.0):
    """A plane wave of whole numbers of cycles along both axes; its variance is amplitude^2 / 2."""
    y, x = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    return amplitude * np.cos(2 * np.pi * (rows * y + columns * x) + 0.3)


def slow_power(field, spacing):
    """Power of every wave by its wavenumber, a Fourier sum with loops over waves and cells."""
    rows, columns = field.shape
    hann = np.array(
        [
            [
                np.sin(np.pi * i / rows) ** 2 * np.sin(np.pi * j / columns) ** 2
                for j in range(columns)
            ]
            for i in range(rows)
        ]
    )
    values = (field - field.mean()) * hann / np.sqrt((hann**2).mean())
    found = []
    for p, q in np.ndindex(rows, columns):
        total = 0j
        for i, j in np.ndindex(rows, columns):
            total += values[i, j] * np.exp(-2j * np.pi * (p * i / rows + q * j / columns))
        # Waves beyond half of the cells run the other way.
        ky = (p if p <= rows / 2 else p - rows) / (rows * spacing[0])
        kx = (q if q <= columns / 2 else q - columns) / (columns * spacing[1])
        found.append((np.hypot(ky, kx), abs(total) ** 2 / field.size**2))
    return np.array(found)


def three_hours(field):
    return np.stack([field, field, field]).astype(np.float32)


# ---------------------------------------------------------------------------- one field


@pytest.mark.parametrize(("spacing", "n"), [((1.0, 1.0), 3), ((2.0, 5.0), 1), ((4.0, 3.0), 3)])
def test_rings_agree_with_a_fourier_sum_written_out(spacing, n):
    field = np.random.default_rng(1).gamma(0.5, 4.0, (6, 8))
    rings = Rings.of((6, 8), spacing)
    # The shorter side: 6 cells of 1 km, 6 of 2 km (8 of 5 are longer), 24 km both ways.
    lowest = 1 / min(6 * spacing[0], 8 * spacing[1])
    assert rings.wavenumber == pytest.approx(lowest * np.arange(1, n + 1))
    waves = slow_power(field, spacing)
    borders = [-1.0, *(lowest * (np.arange(n + 1) + 0.5) - 1e-9), np.inf]
    inside = [(a <= waves[:, 0]) & (waves[:, 0] < b) for a, b in pairwise(borders)]
    assert rings.power(field) == pytest.approx([waves[ring, 1].sum() for ring in inside])
    assert rings.modes.tolist() == [ring.sum() for ring in inside]


@pytest.mark.parametrize("shape", [(24, 32), (31, 17), (40, 40)])
def test_the_power_of_all_rings_is_the_variance_of_the_windowed_field(shape):
    field = np.random.default_rng(2).gamma(0.3, 6.0, shape).astype(np.float32)
    rings = Rings.of(shape, (5.0, 4.0))
    windowed = (field - field.mean(dtype=np.float64)) * rings.window
    assert rings.power(field).sum() == pytest.approx((windowed**2).mean(), rel=1e-12)
    assert (rings.window**2).mean() == pytest.approx(1.0)
    assert rings.modes.sum() == field.size


@pytest.mark.parametrize(("rows", "columns", "ring"), [(0, 9, 9), (14, 0, 14), (6, 8, 10)])
def test_a_plane_wave_lands_in_its_ring_with_its_variance(rows, columns, ring):
    power = Rings.of((48, 48)).power(wave((48, 48), rows, columns, amplitude=3.0))
    # The window spreads a wave to the eight waves beside it, which lie in the rings beside.
    assert power[ring - 1 : ring + 2].sum() == pytest.approx(4.5, rel=1e-3)
    assert power.argmax() == ring
    assert power[: ring - 2].sum() + power[ring + 3 :].sum() < 1e-20


def test_along_an_axis_two_thirds_of_a_wave_are_in_its_own_ring():
    # A Hann window's transform is -1/4, 1/2, -1/4 along the wave: 1/6, 2/3, 1/6 of its power.
    # The neighbours across the wave, sqrt(9^2 + 1), are still in ring 9.
    power = Rings.of((48, 48)).power(wave((48, 48), 0, 9))
    assert power[8:11] == pytest.approx([0.5 / 6, 0.5 * 2 / 3, 0.5 / 6], rel=1e-9)


def test_wavelengths_are_in_km_where_spacings_differ():
    # 30 rows of 4 km and 60 columns of 2 km, 120 km both ways. Waves of 15 km along either axis.
    rings = Rings.of((30, 60), (4.0, 2.0))
    assert 1 / rings.wavenumber[7] == pytest.approx(15.0)
    # The coarser axis resolves 8 km: 120 / 15 cycles.
    assert 1 / rings.wavenumber[-1] == pytest.approx(8.0)
    for cycles in ((8, 0), (0, 8)):
        assert rings.power(wave((30, 60), *cycles)).argmax() == 8


def test_white_noise_is_flat_and_keeps_its_variance():
    rng = np.random.default_rng(5)
    rings = Rings.of((64, 64))
    power = np.mean([rings.power(rng.normal(0, 2.0, (64, 64))) for _ in range(60)], axis=0)
    assert power.sum() == pytest.approx(4.0, rel=0.02)
    # Each wave holds the same; rings of few waves vary more.
    by_wave = (power / rings.modes)[4:] * 64 * 64
    np.testing.assert_allclose(by_wave, 4.0, rtol=0.15)
    assert by_wave[:14].mean() == pytest.approx(by_wave[14:].mean(), rel=0.03)


def test_a_uniform_field_has_no_power():
    assert not Rings.of((9, 11)).power(np.full((9, 11), np.float32(0.1))).any()


# ---------------------------------------------------------------------------- windows


def test_a_split_of_half_the_amplitude_has_a_quarter_of_the_power_by_hour_and_pooled():
    shape = (40, 40)
    # Hours of amplitude 1, 2 and 3; the model halves the second one.
    truth = np.stack([wave(shape, 0, 5, a) + 3 for a in (1, 2, 3)]).astype(np.float32)
    model = truth.copy()
    model[1] = (model[1] - 3) / 2 + 3
    spectra = Spectra((5.0, 5.0))
    spectra.add({"model": model}, truth)
    found = spectra.summary()
    assert found["wavelengths_km"][4] == pytest.approx(40.0)
    assert found["wavelengths_cells"][4] == pytest.approx(8.0)
    ratio = {hour: values[4] for hour, values in found["ratio"]["model"].items()}
    # Pooled: (1 + 4 / 4 + 9) / (1 + 4 + 9).
    expected = {"FT+4": 1.0, "FT+5": 0.25, "FT+6": 1.0, "pooled": 11 / 14}
    assert ratio == pytest.approx(expected, rel=1e-4)
    assert found["power"]["truth"]["FT+6"][4] == pytest.approx(4.5 * 2 / 3, rel=1e-4)
    total = sum(found["power"]["truth"]["FT+6"]) + found["power_outside"]["truth"]["FT+6"]
    assert total == pytest.approx(4.5, rel=1e-4)


def random_windows(count=6, shape=(20, 26)):
    rng = np.random.default_rng(9)
    truth = rng.gamma(0.4, 5.0, (count, 3, *shape)).astype(np.float32)
    return truth, (truth * rng.uniform(0.5, 1.2, truth.shape)).astype(np.float32)


def summed(truth, model, order):
    spectra = Spectra((2.0, 2.0))
    for i in order:
        spectra.add({"model": model[i]}, truth[i])
    return spectra.summary()


def test_the_order_of_windows_does_not_matter():
    truth, model = random_windows()
    one, other = (summed(truth, model, order) for order in (range(6), [4, 0, 5, 2, 1, 3]))
    for key in ("power", "ratio"):
        np.testing.assert_allclose(
            other[key]["model"]["pooled"], one[key]["model"]["pooled"], rtol=1e-13
        )
    assert one["windows_used"] == other["windows_used"] == 6


def test_dry_windows_count_and_add_no_power():
    truth, model = random_windows(2)
    truth[1] = model[1] = 0
    wet, both = summed(truth, model, [0]), summed(truth, model, [0, 1])
    assert (both["windows_used"], both["windows_left_out"]) == (2, 0)
    np.testing.assert_allclose(
        np.array(both["power"]["truth"]["FT+4"]) * 2, wet["power"]["truth"]["FT+4"]
    )
    assert both["ratio"] == wet["ratio"]


def test_without_rain_in_the_truth_there_is_no_ratio_and_no_figure(tmp_path):
    truth, model = random_windows(1)
    found = summed(truth * 0, model, [0])
    assert np.isnan(found["ratio"]["model"]["pooled"]).all()
    assert not any(found["power"]["truth"]["pooled"])
    assert score_drawings(tmp_path, {"spectra": found}) == {}


def test_a_window_with_a_missing_cell_is_left_out_and_counted():
    truth, model = random_windows(4)
    whole = summed(truth, model, [0, 3])
    truth[1, 2, 4, 5] = np.nan
    model[2, 0, 7, 7] = np.nan
    found = summed(truth, model, range(4))
    assert (found["windows_used"], found["windows_left_out"]) == (2, 2)
    assert found["power"] == whole["power"]


def test_corners_without_radar_leave_the_rectangle_in_the_middle():
    truth, model = random_windows(3, (40, 40))
    y, x = np.mgrid[:40, :40] - 19.5
    truth[:, :, np.hypot(y, x) > 20] = np.nan
    found = summed(truth, model, range(3))
    # Half a side of 14 fits a circle of radius 20 (13.5 * sqrt 2 = 19.1); 15 does not (20.5).
    assert (found["rows"], found["columns"]) == ([6, 33], [6, 33])
    assert (found["windows_used"], found["windows_left_out"]) == (3, 0)
    middle = summed(truth[..., 6:34, 6:34], model[..., 6:34, 6:34], range(3))
    assert found["power"] == middle["power"]


def test_a_rectangle_keeps_the_proportions_of_the_grid():
    known = np.ones((20, 40), bool)
    assert centred_rectangle(known) == (slice(0, 20), slice(0, 40))
    known[:, 3] = False
    rows, columns = centred_rectangle(known)
    assert (columns, rows) == (slice(4, 36), slice(2, 18))
    known[10, 20] = False
    known[9, 19] = known[9, 20] = known[10, 19] = False
    assert not known[centred_rectangle(known)].size


def test_too_small_a_grid_has_counts_alone():
    truth, model = random_windows(2, (MIN_SIDE - 1, 30))
    found = summed(truth, model, range(2))
    assert found == {"windows_used": 0, "windows_left_out": 2}
    assert spectra_lines(found)[-1] == "None: 2 windows too small or with missing cells."


def test_a_rectangle_waits_for_a_window_that_has_one():
    truth, model = random_windows(3)
    truth[0] = np.nan
    found = summed(truth, model, range(3))
    assert (found["windows_used"], found["windows_left_out"]) == (2, 1)
    assert found["power"] == summed(truth, model, [1, 2])["power"]


def test_without_a_spacing_wavelengths_are_in_cells():
    truth, model = random_windows(1, (24, 24))
    spectra = Spectra()
    spectra.add({"model": model[0]}, truth[0])
    found = spectra.summary()
    assert found["wavelengths_km"] is None
    assert found["wavelengths_cells"] == pytest.approx(24 / np.arange(1, 13))


def test_the_ring_near_a_wavelength():
    waves = [24.0, 12.0, 8.0, 6.0]
    assert [near(waves, wanted) for wanted in (4, 6.5, 8, 11, 32)] == [None, 3, 2, 1, None]
    assert near([], 4) is None


def test_the_summary_goes_to_json():
    truth, model = random_windows(1)
    found = summed(truth, model, [0])
    assert json.loads(json.dumps(found)) == found

"""Moments of days and their merging: float64, exact for any choice of days."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenkizu.core.errors import DataError
from tenkizu.core.store import StoreWriter
from tenkizu.patterns.moments import load_moments, merge_moments, moment_rows, moments_of


def test_thirty_three_million_values_around_5600():
    """As many heights as a float32 running sum gets wrong by a factor."""
    rng = np.random.default_rng(1)
    maps, total = 2100, 0
    days = []
    running = np.float32(0)
    for _ in range(maps // 100):
        block = rng.normal(5600, 200, (100, 128, 128)).astype(np.float32)
        total += block.size
        running += block.ravel().cumsum(dtype=np.float32)[-1]
        days.append(moments_of({"gh500": block}, ["gh500"]))
    assert total > 2**25
    merged = merge_moments(np.concatenate(days))
    assert merged.count.tolist() == [total]
    assert merged.mean[0] == pytest.approx(5600, rel=1e-3)
    assert merged.std[0] == pytest.approx(200, rel=1e-3)


def test_a_hand_made_pair_of_days():
    # Days of 1, 3 and of 5, 9, NaN: together mean 4.5, squared deviations 12.25+2.25+.25+20.25.
    fields = {"sst": np.array([[[1, 3, np.nan]], [[5, 9, np.nan]]], np.float32)}
    rows = moments_of(fields, ["sst"])
    assert rows[:, 0].tolist() == [[2, 2, 2, 1, 3], [2, 7, 8, 5, 9]]
    merged = merge_moments(rows)
    assert merged.count.tolist() == [4]
    assert merged.mean.tolist() == [4.5]
    assert merged.m2.tolist() == [35.0]
    assert merged.std.tolist() == [np.sqrt(8.75)]
    assert (merged.min[0], merged.max[0]) == (1, 9)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    days=st.integers(1, 9),
    offset=st.sampled_from([0.0, 1e5, -3e-8]),
    scale=st.sampled_from([1e-8, 1.0, 700.0]),
    holes=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_choice_of_days_has_the_moments_of_its_cells(seed, days, offset, scale, holes):
    rng = np.random.default_rng(seed)
    maps = rng.normal(offset, scale, (days, 5, 4)).astype(np.float32)
    maps[rng.random(days) < 0.3] += np.float32(3 * scale)
    maps[rng.random(maps.shape) < holes] = np.nan
    chosen = rng.random(days) < 0.7
    merged = merge_moments(moments_of({"sst": maps}, ["sst"])[chosen])
    cells = maps[chosen].astype(np.float64)
    cells = cells[np.isfinite(cells)]
    assert merged.count.tolist() == [len(cells)]
    if not len(cells):
        assert merged.mean.tolist() == [0]
        assert np.isnan(merged.std).all()
        return
    size = abs(offset) + scale
    assert merged.mean[0] == pytest.approx(cells.mean(), abs=1e-12 * size)
    assert merged.std[0] == pytest.approx(cells.std(), rel=1e-6, abs=1e-9 * size)
    assert (merged.min[0], merged.max[0]) == (cells.min(), cells.max())


def test_tiny_channels_keep_their_spread():
    """Moisture flux convergence is of order 1e-7 and the Laplacian of 1e-8: no absolute floor."""
    rng = np.random.default_rng(5)
    fields = {
        "mfc850": rng.normal(0, 1e-7, (40, 30, 30)).astype(np.float32),
        "lap_msl": rng.normal(0, 1e-8, (40, 30, 30)).astype(np.float32),
        "t850": np.full((40, 30, 30), 280.0, np.float32),
    }
    merged = merge_moments(moments_of(fields, list(fields)))
    assert merged.std[:2] == pytest.approx([1e-7, 1e-8], rel=0.02)
    assert merged.constant.tolist() == [False, False, True]


def test_rows_of_the_logarithm():
    assert moment_rows(["msl", "tp", "tcsw"]) == ["msl", "tp", "tcsw", "log1p:tp", "log1p:tcsw"]
    # Packing makes tiny negative rain; it counts as none.
    rain = np.array([[[0.0, 1e-4], [3e-4, -1e-9]]], np.float32)
    count, mean, _, low, high = moments_of({"tp": rain}, ["tp", "log1p:tp"])[0, 1]
    assert count == 4
    assert mean == pytest.approx((np.log(2) + np.log(4)) / 4, rel=1e-6)
    assert (low, high) == (0, pytest.approx(np.log(4), rel=1e-6))


def test_no_days_at_all():
    merged = merge_moments(np.empty((0, 3, 5)))
    assert merged.count.tolist() == [0, 0, 0]
    assert np.isnan(merged.std).all()


def store_with(folder, moments):
    writer = StoreWriter(folder / "store", "plan")
    np.save(writer.part / "moments.npy", moments)
    return writer.finish({"n_samples": 2, "moment_rows": ["msl"]})


def test_moments_come_back_from_a_store(tmp_path):
    rows, moments = load_moments(store_with(tmp_path, np.arange(10.0).reshape(2, 1, 5)))
    assert rows == ["msl"]
    assert moments[1, 0].tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("damage", ["shape", "torn", "missing"])
def test_damaged_moments_name_the_file(damage, tmp_path):
    store = store_with(tmp_path, np.zeros((3 if damage == "shape" else 2, 1, 5)))
    path = store.path / "moments.npy"
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    if damage == "missing":
        path.unlink()
    with pytest.raises(DataError, match=r"moments\.npy") as caught:
        load_moments(store)
    assert "--overwrite" in str(caught.value)

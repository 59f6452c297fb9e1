"""What `tenkizu rain plan` counts and measures."""

import pytest
from typer.testing import CliRunner

from tenkizu.cli import app
from tenkizu.core.config import load_config
from tenkizu.core.samples import shipped_configs
from tenkizu.rain.config import RainConfig
from tenkizu.rain.planning import plan


def shipped(name: str, *overrides: str) -> RainConfig:
    return load_config(RainConfig, shipped_configs()[name], overrides)


def test_six_years_of_msm_by_the_calendar():
    """Counts of the specification: 11,688 training samples, 48.8 MB, 0.86 TB in six years."""
    found = plan(shipped("rain_msm_v5"), steps=0)
    assert found.samples == 11_688
    # 48 fields and 6 planes of rain in float32.
    assert found.sample_bytes == 54 * 4 * 480 * 480
    assert 6 * found.year_bytes / 1e12 == pytest.approx(0.87, abs=0.01)
    assert found.shape == (480, 480)
    assert found.steps == 11_688 // 8 * 60
    assert found.seconds is None


def test_a_compact_store_is_a_quarter():
    full, compact = (
        plan(shipped("rain_msm_v5", f"data.layout={layout}"), steps=0)
        for layout in ("full", "compact")
    )
    # 40 fields at 241 x 241 and 8 at 480 x 480 in int16, 6 planes of rain in float32.
    assert compact.sample_bytes == 2 * (40 * 241**2 + 8 * 480**2) + 24 * 480**2
    assert 0.2 < compact.sample_bytes / full.sample_bytes < 0.3


def test_steps_are_measured_and_said():
    small = ["data.tile=32", "train.batch_size=2", "model.embed_dim=16", "model.depths=[1,1,1,1]"]
    result = CliRunner().invoke(
        app, ["rain", "plan", str(shipped_configs()["rain_msm"]), *small, "--steps", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "GB a year of 8 samples a day" in result.output
    assert "s a step" in result.output
    assert "inputs of 32 x 32 cells" in result.output
    assert "all steps in one process" in result.output


def test_micro_batches_make_up_a_step(tmp_path):
    small = ["data.tile=32", "model.embed_dim=16", "model.depths=[1,1,1,1]"]
    config = shipped("rain_msm", *small, "train.batch_size=8", "train.micro_batch=2")
    found = plan(config, steps=1)
    assert found.seconds_per_step > 0
    assert found.memory_bytes > 1e8
    assert found.seconds == pytest.approx(found.steps * found.seconds_per_step)

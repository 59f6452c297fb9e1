"""Full-size preparation stays within its memory, as the process as a whole sees it."""

import pytest
from era5_files import write_year
from peak_memory import in_a_process

from tenkizu.core.store import SampleStore
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.physics.channels import SEED
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.training import train


def run(config):
    prepare(config, workers=None)


def run_training(config):
    train(config)


def seed_config(folder, **data):
    data |= {"channels": "seed", "store": str(folder / "store")}
    return PatternsConfig.model_validate(
        {
            "run": {"name": "full", "dir": str(folder / "runs")},
            "data": data,
            "train": {"epochs": 1, "batch_size": 64, "micro_batch": 16, "workers": 2},
            "report": {"cases": 0},
        }
    )


def test_a_few_full_size_maps(tmp_path):
    """Five times as many maps of 161 x 161 cells as are in memory at a time."""
    files = write_year(tmp_path, 1991, 0.25, 34, tasks=["msl", "uv_850"])
    config = PatternsConfig.model_validate(
        {
            "run": {"name": "full"},
            "data": {
                "files": [str(path) for path in files],
                "channels": ["msl", "msl_dt24", "lap_msl", "vmag850"],
                "store": str(tmp_path / "store"),
            },
        }
    )
    peak = in_a_process(run, config).peak_mb
    assert len(SampleStore(config.data.store)) == 34
    assert 10 < peak < 500


@pytest.mark.slow
def test_a_decade_of_all_channels(tmp_path):
    """3653 days of 42 channels in true layout; takes 30 GB of disk for some minutes."""
    years = range(1991, 2001)
    for year in years:
        write_year(tmp_path / "raw", year, 0.25, before=year == 1991)
    config = seed_config(
        tmp_path, source="era5", raw_dir=str(tmp_path / "raw"), years=list(years), netcdf=True
    )
    try:
        cost = in_a_process(run, config)
        store = SampleStore(config.data.store)
        assert len(store) == 3653
        assert store.meta["channels"] == list(SEED)
        assert cost.peak_mb < 4000, cost
        print(cost)
    finally:
        for path in sorted(tmp_path.rglob("*.n*")):
            path.unlink()


@pytest.mark.slow
def test_training_on_full_size_maps_with_two_workers(tmp_path):
    """Micro-batches of 16 days of 42 channels; the memory does not depend on how many there are."""
    write_year(tmp_path / "raw", 1991, 0.25, 160)
    splits = {
        "scheme": "periods",
        "train": ["1991-01-01/1991-05-09"],
        "validation": ["1991-05-10/1991-06-09"],
    }
    files = sorted(str(path) for path in (tmp_path / "raw").glob("*.nc"))
    config = seed_config(tmp_path, files=files, splits=splits)
    prepare(config)
    trained = in_a_process(run_training, config)
    print(trained)
    assert 500 < trained.peak_mb < 4000, trained

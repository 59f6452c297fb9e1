"""A tiny run on real maps, shared by the tests of this folder.

Three years of the shipped pressure maps of the North Atlantic, 2001 to 2003, labelled by the rules:
365 days each train, choose and are reported on. ``tiny_pattern_store`` and ``tiny_pattern_run`` are
to be read only.
"""

import pytest
from era5_files import days_of, write_file
from refusals import tiny_yaml
from short_runs import undrawn

from tenkizu.patterns import train
from tenkizu.patterns.config import PatternsConfig
from tenkizu.patterns.preparation import prepare

YEARS = {"train": ["2001/2001"], "validation": ["2002/2002"], "test": ["2003/2003"]}


def _tiny(folder, store, **sections):
    data = {
        "files": ["sample:ncep_msl_natlantic_2p5_daily_2001_2010.nc"],
        "years": [2001, 2002, 2003],
        "area": [70, -30, 30, 10],
        "channels": ["msl", "grad_msl", "f1_season"],
        "netcdf": False,
        "store": store,
        "splits": {"scheme": "periods", **YEARS},
    }
    settings = {
        "run": {"name": "tiny", "dir": folder},
        "labels": {"catalogue": "jc", "centre": [55, -5]},
        "model": {"backbone": "projection", "options": {"hidden": 32, "depth": 1}},
        "train": {"epochs": 2, "workers": 0, "micro_batch": None, "lr": 3e-3},
        "report": {"cases": 2},
    }
    for name, values in sections.items():
        known = data if name == "data" else settings.setdefault(name, {})
        known.update(values)
    return PatternsConfig(data=data, **settings)


@pytest.fixture(scope="session")
def pattern_config(tmp_path_factory):
    """Makes configurations of the tiny run: pattern_config(folder, train={"epochs": 3})."""
    store = tmp_path_factory.mktemp("patterns") / "store"

    def make(folder, **sections):
        return _tiny(folder / "runs", store, **sections)

    return make


@pytest.fixture(scope="session")
def tiny_pattern_store(pattern_config, tmp_path_factory):
    """The prepared store of the tiny run."""
    return prepare(pattern_config(tmp_path_factory.mktemp("prepare")))


@pytest.fixture(scope="session")
def tiny_pattern_run(pattern_config, tiny_pattern_store, tmp_path_factory):
    """A finished run folder: two epochs."""
    return train(pattern_config(tmp_path_factory.mktemp("trained")))


@pytest.fixture
def yaml(pattern_config, tiny_pattern_store, tmp_path):
    """The tiny run in a folder of its own, as a YAML file; its store is there."""
    return tiny_yaml(pattern_config, tmp_path)


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of a short run; the shared tiny run has them."""
    undrawn(monkeypatch)


@pytest.fixture
def msl(tmp_path):
    """A good ERA5 file of six days, to be broken."""
    path = tmp_path / "msl.nc"
    write_file(path, ("msl",), days_of(2001, 6))
    return path

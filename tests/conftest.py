"""For all tests: libraries in an order in which they do not crash, and one environment."""

import os

import pytest

import tenkizu.core.grib_library  # noqa: F401
from tenkizu.core import charts


@pytest.fixture(autouse=True, scope="module")
def same_environment():
    """Take back what a module leaves in the environment.

    A Dask cluster sets OMP_NUM_THREADS=1 for its workers and leaves it so. Programs that later
    tests start would then compute with other threads than the tests, and differ in the last bit.
    """
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"})


@pytest.fixture
def figures(monkeypatch):
    """The figures saved during a test, which are still written."""
    kept = []
    save = charts.save_figure

    def keep(figure, path):
        kept.append(figure)
        return save(figure, path)

    monkeypatch.setattr(charts, "save_figure", keep)
    return kept

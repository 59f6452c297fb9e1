"""The walk of docs/era5.md by its commands, from a fresh account to the report, on a local store.

The area is 17 x 17 points, and three of the ten years are fetched: one trains, one chooses, and of
one that the model has not seen the days are classified.
"""

import csv
import json

import matplotlib
import pytest
import xarray as xr
from download_runs import store, submissions
from short_runs import command

from tenkizu.core.store import SampleStore

SHORT = (
    "run.name=walk", "data.store=stores/walk", "data.years=1991/1992", "data.area=[39,133,35,137]",
    "data.channels=[msl,msl_dt24,gh500,t850,f1_season]", "data.splits.scheme=periods",
    "data.splits.train=[1991/1991]", "data.splits.validation=[1992/1992]", "train.epochs=1",
    "train.workers=0", "report.cases=1", "download.tasks=needed", "download.poll_s=0.05",
)  # fmt: skip
FILES = ("era5_msl_{}.nc", "era5_z_500_1000_{}.nc", "era5_t_850_{}.nc")
OTHER_PLACES = ("ECMWF_DATASTORES_URL", "ECMWF_DATASTORES_KEY", "ECMWF_DATASTORES_RC_FILE",
                "CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC")  # fmt: skip


@pytest.fixture
def fresh_account(tmp_path, monkeypatch):
    """An empty home, which is the working folder too, and no variable that names a data store."""
    # Found in the old home once, it need not be made anew, which takes seconds.
    matplotlib.get_cachedir()
    for name in OTHER_PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tenkizu(*arguments):
    """What a command prints; it must succeed."""
    code, output, errors = command(*arguments)
    assert code == 0, errors
    return output


def test_from_a_fresh_account_to_the_report(fresh_account):
    home, raw = fresh_account, fresh_account / "data" / "era5"
    tenkizu("config", "new", "patterns_japan", "-o", "japan.yaml")
    (home / "walk.yaml").write_text(tenkizu("config", "show", "japan.yaml", *SHORT))

    plan = tenkizu("patterns", "download", "japan.yaml", "--dry-run")
    assert "there        0 of 231 files" in plan
    assert "cds.climate.copernicus.eu/profile" in plan
    code, _, errors = command("patterns", "download", "walk.yaml")
    assert (code, "write two lines into ~/.cdsapirc" in errors) == (4, True)

    with store() as server:
        (home / ".cdsapirc").write_text(f"url: {server.url}\nkey: {server.key}\n")
        plan = tenkizu("patterns", "download", "walk.yaml", "--dry-run")
        assert "17 x 17 points" in plan
        assert "to fetch     7 requests" in plan
        assert f"key          {home / '.cdsapirc'}, for {server.url}" in plan
        assert submissions(server) == 0
        assert "7 files" in tenkizu("patterns", "download", "walk.yaml")
        # What is there stays; then one more year.
        assert "7 files" in tenkizu("patterns", "download", "walk.yaml", "--verify", "full")
        assert submissions(server) == 7
        tenkizu("patterns", "download", "walk.yaml", "data.years=1993")
        assert submissions(server) == 10
    years = {name.format(year) for name in FILES for year in (1991, 1992, 1993)}
    assert {path.name for path in raw.glob("*.nc")} == years | {"era5_msl_1990.nc"}

    printed = tenkizu("patterns", "prepare", "walk.yaml")
    assert "days: 731, 1991-01-01T00:00 to 1992-12-31T00:00 UTC" in printed
    _the_store_holds_what_was_served(home / "stores" / "walk")
    code, _, errors = command("patterns", "inspect", "walk.yaml")
    assert (code, "the folder that is data.store" in errors) == (2, True)
    printed = tenkizu("patterns", "inspect", "stores/walk")
    assert "Gaps: none" in printed
    assert "17 x 17, latitude 39..35, longitude 133..137 degrees" in printed

    planned = tenkizu("patterns", "train", "walk.yaml", "--dry-run")
    assert "1991-01-01 to 1991-12-31 (local dates)" in planned
    printed = tenkizu("patterns", "train", "walk.yaml")
    assert "validation: 366 days" in printed

    files = [raw / name.format(1993) for name in FILES]
    tenkizu("patterns", "predict", "runs/walk", *files, "-o", "types_1993.csv")
    with (home / "types_1993.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [rows[i]["date"] for i in (0, -1)] == ["1993-01-01", "1993-12-31"]
    assert len(rows) == 365
    tenkizu("patterns", "evaluate", "runs/walk", *files, "-o", "scores_1993")
    scores = json.loads((home / "scores_1993" / "scores.json").read_text())
    assert (scores["n_days"], scores["provenance"]) == (365, "held-out")

    page = home / "runs" / "walk" / "report" / "index.html"
    page.unlink()
    tenkizu("patterns", "report", "runs/walk")
    text = page.read_text(encoding="utf-8")
    assert "1992-01-01 to 1992-12-31" in text
    assert text.count("data:image/png") >= 5


def _the_store_holds_what_was_served(path):
    """Heights are the geopotential that the data store sent, over standard gravity."""
    prepared = SampleStore(path)
    channels = prepared.meta["arrays"]["maps"]["channels"]
    with xr.open_dataset("data/era5/era5_z_500_1000_1992.nc", engine="h5netcdf") as file:
        expected = file["z"].sel(valid_time="1992-02-29", pressure_level=500).values.squeeze()
    day = prepared.meta["days"].index("1992-02-29T00:00")
    found = prepared.read("maps", day)[channels.index("gh500")]
    assert abs(found * 9.80665 - expected).max() < 0.05

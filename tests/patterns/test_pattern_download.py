"""Downloads from a local data store through the real client: what is asked, kept, asked again."""

import hashlib
import io
import json

import numpy as np
import pytest
import xarray as xr
from cds_server import CdsServer
from download_process import app
from download_runs import (
    AREA,
    SERVED,
    contents,
    era5_config,
    sidecar,
    store,
    submissions,
)
from typer.testing import CliRunner

from tenkizu.core.config import dump_config
from tenkizu.core.errors import ConfigError, DownloadError
from tenkizu.patterns.download.downloader import download
from tenkizu.patterns.download.wanted import wanted_files
from tenkizu.patterns.reading.maps import open_era5

NAMES = ["era5_msl_2000.nc", "era5_msl_2001.nc", "era5_z_500_1000_2001.nc"]
DAYS = [f"{i:02}" for i in range(1, 32)]


def opened(file):
    """A NetCDF file as xarray reads it; told how, it need not load all that could read files."""
    return xr.load_dataset(file, engine="h5netcdf")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A finished download of a year, and the store as it was left."""
    folder = tmp_path_factory.mktemp("fetched")
    with pytest.MonkeyPatch.context() as patch, store(patch) as server:
        paths = download(era5_config(folder))
    return folder, paths, server


def command(tmp_path, config, *options):
    """Run the command; returns exit code, output, error."""
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    result = CliRunner().invoke(app, [str(path), *options], env={"COLUMNS": "200"})
    return result.exit_code, result.output, result.exception


class TestAYear:
    def test_its_files_are_there_and_prepare_can_read_them(self, fetched):
        folder, paths, _ = fetched
        assert [path.name for path in paths] == NAMES
        names = ("msl", "msl@-24h", "z500")
        with open_era5(folder / "raw", [2001], names) as source:
            assert source.grid.y.tolist() == [35.5, 35.25, 35.0]
            assert source.grid.x.tolist() == [135.0, 135.25, 135.5]
            first = source.times[:1]
            maps = source.read(names, first)
        before, heights = opened(paths[0]), opened(paths[2])
        assert before["msl"].shape == (1, 3, 3)
        np.testing.assert_array_equal(maps["msl@-24h"], before["msl"])
        np.testing.assert_array_equal(maps["z500"][0], heights["z"].sel(pressure_level=500)[0])

    def test_the_requests_are_those_of_the_data_store(self, fetched):
        common = {"product_type": ["reanalysis"], "time": ["00:00"], "area": [35.5, 135, 35, 135.5]}
        common |= {"data_format": "netcdf", "download_format": "unarchived"}
        year = {"year": ["2001"], "month": DAYS[:12], "day": DAYS}
        last_day = {"year": ["2000"], "month": ["12"], "day": ["31"]}
        pressure = {"variable": ["mean_sea_level_pressure"]}
        heights = {"variable": ["geopotential"], "pressure_level": ["500", "1000"]}
        asked = [(job.dataset, job.inputs) for job in fetched[2].jobs.values()]
        expected = [
            ("reanalysis-era5-single-levels", {**pressure, **last_day, **common}),
            ("reanalysis-era5-single-levels", {**pressure, **year, **common}),
            ("reanalysis-era5-pressure-levels", {**heights, **year, **common}),
        ]
        assert len(asked) == 3
        assert all(request in asked for request in expected)

    def test_a_record_lies_beside_each_file(self, fetched):
        _, paths, server = fetched
        for path in paths:
            known = sidecar(path)
            (server_id,) = known["server_ids"]
            assert server.jobs[server_id].inputs == known["request"]
            assert known["size"] == path.stat().st_size
            assert known["sha256"] == _sha256(path)
            assert known["client"] == "ecmwf-datastores-client 0.5.3"

    def test_nothing_else_is_left(self, fetched):
        left = {path.name for path in (fetched[0] / "raw").iterdir()}
        beside = {".download.lock", "download_state.json"}
        assert left == {*NAMES, *(f"{name}.json" for name in NAMES), *beside}
        state = json.loads((fetched[0] / "raw" / "download_state.json").read_text())
        assert state == {"requests": {}}

    def test_costs_come_before_the_first_submission(self, fetched):
        paths = [call.path.rpartition("/")[2] for call in fetched[2].log]
        assert paths.index("pat") < paths.index("costing")
        last_cost = max(i for i, path in enumerate(paths) if path == "costing")
        assert last_cost < paths.index("execution")

    def test_again_it_asks_for_nothing_not_even_a_key(self, fetched, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert download(era5_config(fetched[0])) == fetched[1]


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestThePlan:
    def test_a_decade_is_231_files_of_23_tasks(self, tmp_path):
        config = era5_config(tmp_path, range(1991, 2001), tasks="all", area=None)
        files = wanted_files(config)
        assert len(files) == 231
        assert [file.whole.name for file in files[:2]] == ["era5_msl_1990.nc", "era5_msl_1991.nc"]
        assert files[0].whole.inputs["area"] == [55, 115, 15, 155]
        assert len({file.whole.task.name for file in files}) == 23
        # 161 x 161 points of two levels and 366 days, two bytes each.
        leap = next(file.whole for file in files if file.whole.name == "era5_z_500_1000_1992.nc")
        assert leap.estimated_bytes == 161 * 161 * 2 * 366 * 2

    def test_months_are_asked_with_their_own_days(self, tmp_path):
        config = era5_config(tmp_path, [2000], split="month", hours=[0, 12])
        before, pressure, _ = wanted_files(config)
        assert not before.joined
        assert len(pressure.parts) == 12
        february = pressure.parts[1]
        assert february.name == "era5_msl_2000_02.nc"
        assert february.inputs["month"] == ["02"]
        assert february.inputs["day"] == DAYS[:29]
        assert february.inputs["time"] == ["00:00", "12:00"]
        assert len(february.times) == 58

    @pytest.mark.parametrize(
        "area", [(35.6, 135, 35, 136), (35, 135, 36, 136), (35, 137, 34, 136), (91, 0, 0, 9)]
    )
    def test_an_area_off_the_grid_is_refused(self, tmp_path, area):
        with pytest.raises(ConfigError, match=r"data\.area: .*multiples of 0\.25"):
            wanted_files(era5_config(tmp_path, area=area))

    def test_other_sources_have_nothing_to_download(self, tmp_path):
        config = era5_config(tmp_path)
        files = config.data.model_copy(update={"source": "files", "files": ["a.nc"]})
        with pytest.raises(ConfigError, match="nothing to download"):
            wanted_files(config.model_copy(update={"data": files}))


class TestMonths:
    def test_joined_they_are_the_year(self, tmp_path, monkeypatch):
        heights = {"channels": ["gh500"]}
        with store(monkeypatch) as server:
            (path,) = download(era5_config(tmp_path, split="month", **heights))
        assert submissions(server) == 12
        assert server.max_in_flight <= 4
        assert list((tmp_path / "raw").glob("*.nc")) == [path]
        known = sidecar(path)
        assert known["how"] == "joined"
        answers = [server.jobs[server_id] for server_id in known["server_ids"]]
        assert [job.inputs["month"] for job in answers] == [[month] for month in DAYS[:12]]
        months = [opened(io.BytesIO(job.content)) for job in answers]
        expected = xr.concat(months, "valid_time").drop_vars("number")
        xr.testing.assert_equal(opened(path), expected)
        # The year counts as the same file, whichever way it is asked for.
        assert download(era5_config(tmp_path, **heights)) == [path]

    def test_a_month_that_fails_leaves_the_others(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            config = era5_config(tmp_path, channels=["msl"], split="month", retries=0)
            server.fail("submit", 400, of='"05"], "day"')
            with pytest.raises(DownloadError, match=r"1 of 12 files .*\n.*era5_msl_2001_05\.nc"):
                download(config)
            assert len(list((tmp_path / "raw").glob("era5_msl_2001_*.nc"))) == 11
            download(config)
        assert submissions(server) == 13
        assert [p.name for p in (tmp_path / "raw").glob("*.nc")] == ["era5_msl_2001.nc"]


class TestWhatIsThere:
    def test_a_file_fetched_by_hand_is_adopted(self, fetched, tmp_path, monkeypatch):
        config = _copied(fetched, tmp_path, sidecars=False)
        with store(monkeypatch) as server:
            paths = download(config)
        assert server.log == []
        assert [sidecar(path)["how"] for path in paths] == ["adopted"] * 3
        assert sidecar(paths[1])["sha256"] == _sha256(fetched[1][1])

    def test_a_file_of_another_area_is_fetched_again(self, fetched, tmp_path, monkeypatch, caplog):
        _copied(fetched, tmp_path)
        config = era5_config(tmp_path, area=(36, *AREA[1:]))
        with caplog.at_level("WARNING"), store(monkeypatch) as server:
            paths = download(config)
        assert submissions(server) == 3
        assert "another grid than was asked for" in caplog.text
        assert opened(paths[1])["latitude"].values.tolist() == [36.0, 35.75, 35.5, 35.25, 35.0]

    def test_a_damaged_file_without_its_size_is_fetched_again(self, fetched, tmp_path, monkeypatch):
        config = _copied(fetched, tmp_path)
        victim = config.data.raw_dir / NAMES[1]
        victim.write_bytes(victim.read_bytes()[:-1000])
        with store(monkeypatch) as server:
            download(config)
        assert submissions(server) == 1
        assert contents(config.data.raw_dir) == contents(fetched[0] / "raw")

    def test_only_full_verification_sees_a_flipped_bit(self, fetched, tmp_path, monkeypatch):
        config = _copied(fetched, tmp_path)
        victim = config.data.raw_dir / NAMES[1]
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
        with store(monkeypatch) as server:
            download(config)
            assert submissions(server) == 0
            full = config.download.model_copy(update={"verify": "full"})
            download(config.model_copy(update={"download": full}))
        assert submissions(server) == 1
        assert contents(config.data.raw_dir) == contents(fetched[0] / "raw")

    def test_the_whole_year_before_serves_for_its_last_day(self, fetched, tmp_path, monkeypatch):
        # 2001 in full stands where 2002 needs its 31 December, and the other way round not.
        _copied(fetched, tmp_path)
        with store(monkeypatch) as server:
            download(era5_config(tmp_path, [2002]))
            assert submissions(server) == 2
            download(era5_config(tmp_path, [2000]))
        # 1999-12-31 and both tasks of 2000, of which only 31 December of msl was there.
        assert submissions(server) == 5


def _copied(fetched, folder, sidecars=True):
    """The finished download in a folder of its own."""
    raw = folder / "raw"
    raw.mkdir()
    for path in fetched[1]:
        (raw / path.name).write_bytes(path.read_bytes())
        if sidecars:
            (raw / f"{path.name}.json").write_bytes(
                path.with_name(f"{path.name}.json").read_bytes()
            )
    return era5_config(folder)


class TestLimits:
    def test_costs_over_the_limit_submit_nothing(self, tmp_path, monkeypatch):
        # A year of msl counts 12 x 31 fields, twice as many with two levels.
        with (
            store(monkeypatch, cost_limit=400) as server,
            pytest.raises(DownloadError) as refused,
        ):
            download(era5_config(tmp_path))
        assert submissions(server) == 0
        text = str(refused.value)
        assert "1 of 3 requests cost more" in text
        assert "era5_z_500_1000_2001.nc (744)" in text
        assert "at most 400" in text
        assert "download.split=month" in text

    def test_at_most_so_many_requests_are_under_way(self, tmp_path, monkeypatch):
        channels = ["msl", "gh500", "t850", "u850", "q850", "w500", "tcc"]
        for parallel in (4, 2):
            with store(monkeypatch, queue_polls=3) as server:
                folder = tmp_path / str(parallel)
                download(era5_config(folder, channels=channels, parallel=parallel))
            assert submissions(server) == 7
            assert server.max_in_flight == parallel


class TestDryRun:
    def test_it_prints_the_plan_and_submits_nothing(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            code, output, error = command(tmp_path, era5_config(tmp_path), "--dry-run")
        assert (code, error) == (0, None)
        assert submissions(server) == 0
        assert not (tmp_path / "raw").exists()
        # 9 points, two bytes: one day of msl, 365 of msl, 365 of two levels.
        assert "3 requests, about 0.0 MB" in output
        assert "35.5 to 35 N, 135 to 135.5 E: 3 x 3 points" in output
        assert "up to 744 a request, limit 60000" in output
        assert "z500 z1000" in output

    def test_without_a_key_it_says_how_to_get_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        code, output, _ = command(tmp_path, era5_config(tmp_path, tasks="all"), "--dry-run")
        assert code == 0
        assert "24 requests" in output
        assert "https://cds.climate.copernicus.eu/profile" in output

    def test_it_tells_what_is_there(self, fetched, tmp_path, monkeypatch):
        config = _copied(fetched, tmp_path)
        (config.data.raw_dir / NAMES[2]).write_text("<html>busy</html>")
        with store(monkeypatch):
            _, output, _ = command(tmp_path, config, "--dry-run")
        assert "2 of 3 files" in output
        assert "1 requests" in output
        assert f"fetched again: {NAMES[2]}" in output
        assert "an HTML or XML page of 17 bytes" in output
        assert (config.data.raw_dir / NAMES[2]).read_text() == "<html>busy</html>"


def test_the_command_downloads_and_keeps_a_log(tmp_path, monkeypatch):
    with store(monkeypatch):
        code, output, error = command(tmp_path, era5_config(tmp_path, channels=["msl"]))
    assert (code, error) == (0, None)
    assert "1 files" in output
    assert "all there" in output
    log = (tmp_path / "raw" / "download.log").read_text()
    assert "era5_msl_2001.nc done" in log


def test_a_leap_day_is_part_of_the_year(tmp_path, monkeypatch):
    with store(monkeypatch):
        (path,) = download(era5_config(tmp_path, [2000], channels=["msl"], hours=[0, 12]))
    assert opened(path).sizes["valid_time"] == 732


def test_a_store_may_turn_longitudes_round(tmp_path, monkeypatch):
    def serve(dataset, inputs):
        return SERVED(dataset, {**inputs, "area": [35.5, 359.5, 35, 360]})

    with CdsServer(serve) as server:
        monkeypatch.setenv("CDSAPI_URL", server.url)
        monkeypatch.setenv("CDSAPI_KEY", server.key)
        (path,) = download(era5_config(tmp_path, channels=["msl"], area=(35.5, -0.5, 35, 0)))
    assert path.is_file()

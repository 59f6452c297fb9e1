"""What goes wrong between us and the data store, and what becomes of it."""

import pytest
from download_process import app
from download_runs import SERVED, contents, era5_config, store, submissions
from typer.testing import CliRunner

from tenkizu.core.config import dump_config
from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.downloader import download
from tenkizu.patterns.download.server import KeyRefused
from tenkizu.patterns.download.sidecar import State
from tenkizu.patterns.download.wanted import wanted_files

ONE = {"channels": ["msl"]}
MSL, HEIGHTS = "mean_sea_level_pressure", "geopotential"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Files of a download in which nothing went wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch, store(patch):
        download(era5_config(folder))
    return contents(folder / "raw")


class TestWhatPasses:
    """One fault each; the download goes on, and the file is the right one."""

    @pytest.mark.parametrize(
        ("place", "fault"),
        [
            *((place, 500) for place in ("auth", "costing", "submit", "poll", "results")),
            *((place, 429) for place in ("submit", "poll")),
            *((place, "cut") for place in ("process", "submit", "poll", "results", "download")),
            ("messages", 503), ("download", 503), ("download", 404), ("submit", "html"),
            ("submit", "job_failed"), ("poll", "job_failed"), ("poll", "job_expired"),
            ("results", "job_expired"), ("results", "zip"), ("results", "html"),
            ("download", "html"), ("download", "wrong_size"), ("results", "wrong_size"),
        ],
    )  # fmt: skip
    def test_a_fault(self, undisturbed, tmp_path, monkeypatch, place, fault):
        with store(monkeypatch, retry_after_s=0) as server:
            server.fail(place, fault)
            (path,) = download(era5_config(tmp_path, **ONE))
        assert contents(tmp_path / "raw") == {path.name: undisturbed[path.name]}
        assert server.max_in_flight == 1
        assert not list((tmp_path / "raw").glob("*.part"))

    def test_silence_counts_as_broken(self, undisturbed, tmp_path, monkeypatch):
        with store(monkeypatch, slow_s=2.0) as server:
            server.fail("download", "slow", after_bytes=30_000)
            server.fail("poll", "slow")
            (path,) = download(era5_config(tmp_path, timeout_s=0.3, **ONE))
        assert contents(tmp_path / "raw") == {path.name: undisturbed[path.name]}

    def test_many_at_once(self, undisturbed, tmp_path, monkeypatch):
        with store(monkeypatch, retry_after_s=0) as server:
            for place, fault in (("submit", 500), ("poll", "cut"), ("download", "cut"),
                                 ("results", "zip"), ("download", "html")):  # fmt: skip
                server.fail(place, fault, times=2)
            download(era5_config(tmp_path))
        assert contents(tmp_path / "raw") == undisturbed


def test_a_transfer_goes_on_where_it_broke(tmp_path, monkeypatch):
    with store(monkeypatch) as server:
        server.fail("download", "cut", after_bytes=20_000)
        download(era5_config(tmp_path, **ONE))
    statuses = [call.status for call in server.log if call.path.startswith("/cache/")]
    assert statuses == [200, 206]
    assert submissions(server) == 1


def test_a_bad_file_is_fetched_once_more_before_it_is_asked_for_anew(tmp_path, monkeypatch):
    with store(monkeypatch) as server:
        server.fail("download", "html", times=3)
        download(era5_config(tmp_path, **ONE))
    assert submissions(server) == 2
    assert len([call for call in server.log if call.path.startswith("/cache/")]) == 4


def test_a_submission_without_an_answer_is_not_made_twice(tmp_path, monkeypatch):
    with store(monkeypatch) as server:
        server.fail("submit", "cut", times=2)
        download(era5_config(tmp_path))
    assert len(server.jobs) == 3


@pytest.fixture
def waits(monkeypatch):
    """Seconds of each wait, none of which takes place."""
    found = []
    monkeypatch.setattr(
        "tenkizu.patterns.download.patience.Patience.wait", lambda _, s: found.append(s)
    )
    return found


def test_the_pause_that_the_server_asks_for_is_kept(tmp_path, monkeypatch, waits):
    with store(monkeypatch, retry_after_s=30) as server:
        server.fail("submit", 429)
        download(era5_config(tmp_path, **ONE))
    assert [seconds for seconds in waits if seconds >= 1.0] == [30.0]


def test_pauses_grow(tmp_path, monkeypatch, waits):
    with store(monkeypatch) as server:
        server.fail("auth", 503, times=5)
        download(era5_config(tmp_path, retry_pause_s=10.0, **ONE))
    assert [seconds for seconds in waits if seconds >= 1.0] == [10.0, 20.0, 40.0, 80.0, 160.0]


class TestWhatDoesNotPass:
    def test_five_retries_and_no_more(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("submit", 500, times=6, of=HEIGHTS)
            with pytest.raises(DownloadError) as failed:
                download(era5_config(tmp_path))
            assert len(server.calls("POST", "/execution")) == 2 + 6
            text = str(failed.value)
            assert "1 of 3 files could not be fetched" in text
            assert "era5_z_500_1000_2001.nc: submitting: given up after 6 attempts" in text
            assert "500 Internal Server Error" in text
            assert failed.value.exit_code == 4
            # The others are there, and only this one is asked for when it is run again.
            download(era5_config(tmp_path))
        assert len(server.jobs) == 3

    def test_a_file_that_is_always_wrong_is_named_with_size_and_type(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("results", "html", times=9)
            with pytest.raises(DownloadError) as failed:
                download(era5_config(tmp_path, retries=2, **ONE))
        text = str(failed.value)
        assert "era5_msl_2001.nc: given up after 3 attempts" in text
        assert "an HTML or XML page of" in text
        assert "bytes" in text
        assert not list((tmp_path / "raw").glob("*.nc*"))

    def test_an_archive_is_not_what_was_asked_for(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("results", "zip")
            with pytest.raises(DownloadError, match=r"ZIP archive where NetCDF .* \d+ bytes with"):
                download(era5_config(tmp_path, retries=0, **ONE))

    def test_another_field_under_the_name_of_the_file(self, tmp_path, monkeypatch):
        def serve(dataset, inputs):
            return SERVED(dataset, {**inputs, "variable": ["total_cloud_cover"]})

        with (
            store(monkeypatch, serve),
            pytest.raises(DownloadError, match=r"missing variable or level; found 1 fields \(tcc"),
        ):
            download(era5_config(tmp_path, retries=1, **ONE))

    def test_a_job_that_always_fails_says_why(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("submit", "job_failed", times=2)
            with pytest.raises(DownloadError, match="MarsRuntimeError"):
                download(era5_config(tmp_path, retries=1, **ONE))

    def test_a_rejected_request_is_not_tried_again(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("submit", "job_rejected")
            with pytest.raises(DownloadError, match=r"rejected[\s\S]*download\.split=month"):
                download(era5_config(tmp_path, **ONE))
        assert submissions(server) == 1

    def test_a_licence_not_accepted_is_asked_for_once_a_data_set(self, tmp_path, monkeypatch):
        with store(monkeypatch, licence_accepted=False) as server:
            config = era5_config(tmp_path, channels=["msl", "tcwv", "tcc"], parallel=1)
            with pytest.raises(DownloadError) as failed:
                download(config)
            assert submissions(server) == 1
            text = str(failed.value)
            assert "the licence of the data set is not accepted" in text
            assert "#manage-licences" in text
            server.licence_accepted = True
            assert len(download(config)) == 3

    def test_a_refused_key_names_its_file_and_the_page(self, tmp_path, monkeypatch):
        home = tmp_path / "home"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        with store() as server:
            (home / ".cdsapirc").write_text(f"url: {server.url}\nkey: not-mine\n")
            with pytest.raises(KeyRefused) as failed:
                download(era5_config(tmp_path, **ONE))
        text = str(failed.value)
        assert str(home / ".cdsapirc") in text
        assert f"{server.root}/profile" in text
        assert "not-mine" not in text
        assert submissions(server) == 0

    def test_a_key_that_is_withdrawn_stops_everything(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            server.fail("submit", 401)
            with pytest.raises(KeyRefused):
                download(era5_config(tmp_path, parallel=1))
        assert submissions(server) == 1

    def test_nobody_listens(self, tmp_path, monkeypatch):
        with store(monkeypatch) as server:
            pass
        with pytest.raises(DownloadError, match=r"given up after 2 attempts.*refused"):
            download(era5_config(tmp_path, retries=1, **ONE))
        assert server.log == []

    def test_an_address_that_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CDSAPI_KEY", "x")
        with pytest.raises(DownloadError, match="address of the data store cannot be used"):
            download(era5_config(tmp_path, url="climate-store", **ONE))

    def test_the_command_exits_with_4(self, tmp_path, monkeypatch):
        path = tmp_path / "config.yaml"
        path.write_text(dump_config(era5_config(tmp_path, retries=0, **ONE)))
        with store(monkeypatch) as server:
            server.fail("submit", 500)
            result = CliRunner().invoke(app, [str(path)])
        assert isinstance(result.exception, DownloadError)
        assert result.exception.exit_code == 4
        assert "era5_msl_2001.nc" in (tmp_path / "raw" / "download.log").read_text()


@pytest.mark.parametrize("fate", ["job_expired", "job_failed"])
def test_requests_that_ended_badly_meanwhile_are_made_anew(
    tmp_path, monkeypatch, undisturbed, fate
):
    # The state of a run that was killed while its request waited.
    config = era5_config(tmp_path, **ONE)
    with store(monkeypatch) as server:
        request = wanted_files(config)[0].whole
        request.path.parent.mkdir()
        waiting = server.submit(request.task.dataset, request.inputs)
        State(request.path.parent, server.url).remember(request, waiting.id)
        server.fail("poll", fate)
        download(config)
        assert submissions(server) == 1
    assert contents(tmp_path / "raw") == {request.name: undisturbed[request.name]}


def test_requests_of_another_account_are_made_anew(tmp_path, monkeypatch):
    # The state of a run with another key: the store knows the request, but does not show it.
    config = era5_config(tmp_path, **ONE)
    with store(monkeypatch) as server:
        request = wanted_files(config)[0].whole
        request.path.parent.mkdir()
        other = server.submit(request.task.dataset, request.inputs)
        State(request.path.parent, server.url).remember(request, other.id)
        server.fail("poll", 401)
        download(config)
        assert submissions(server) == 1

"""Jobs of the store on loopback, from request to file, as the client meets them."""

import concurrent.futures
import threading

import numpy as np
import pytest
import requests
import xarray as xr
from cds_server import CdsServer, era5_response
from cds_server_era5 import FILE, HEIGHT, PRESSURE, SINGLE, UPPER, some_file


@pytest.fixture
def store():
    """A store that serves some bytes without a queue."""
    with CdsServer(some_file, queue_polls=0, run_polls=0) as server:
        yield server


# From a request to a file.


def test_a_request_waits_runs_and_becomes_a_true_era5_file(tmp_path):
    with CdsServer(era5_response, queue_polls=2, run_polls=1) as server:
        remote = server.client().submit(UPPER, HEIGHT)
        assert [remote.status for _ in range(4)] == [
            "accepted",
            "accepted",
            "running",
            "successful",
        ]
        assert remote.collection_id == UPPER
        assert remote.request == HEIGHT
        assert remote.created_at < remote.started_at < remote.finished_at == remote.updated_at
        results = remote.get_results()
        path = results.download(str(tmp_path / "heights.nc"))
        assert results.content_type == "application/netcdf"
        job = server.jobs[remote.request_id]
        assert (job.status, job.dataset, job.inputs, job.order) == ("successful", UPPER, HEIGHT, 1)
    with xr.open_dataset(path) as heights:
        # There is no 29 February in 1991, and no 30th.
        days = np.array(["1991-02-26", "1991-02-27", "1991-02-28"], "datetime64[ns]")
        assert (heights["valid_time"].values == days).all()
        assert set(heights["pressure_level"].values) == {500.0, 1000.0}
        assert heights["latitude"].values.tolist() == [*range(55, 10, -5)]
        assert heights["longitude"].values.tolist() == [*range(115, 160, 5)]
        assert set(heights.coords) >= {"number", "expver"}
        assert heights["z"].dims == ("valid_time", "pressure_level", "latitude", "longitude")
        assert 4.5e4 < float(heights["z"].sel(pressure_level=500).mean()) < 6e4


def test_the_calls_are_those_of_the_client_in_their_order(store, tmp_path):
    store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    (job,) = store.jobs
    retrieve = "/api/retrieve/v1"
    assert [(call.method, call.path, call.status) for call in store.log] == [
        ("GET", "/api/catalogue/v1/messages", 200),
        ("GET", f"{retrieve}/processes/{SINGLE}", 200),
        ("POST", f"{retrieve}/processes/{SINGLE}/execution", 201),
        ("GET", f"{retrieve}/jobs/{job}", 200),
        ("GET", f"{retrieve}/jobs/{job}", 200),
        ("GET", f"{retrieve}/jobs/{job}/results", 200),
        ("HEAD", f"/cache/{job}.nc", 200),
        ("GET", f"/cache/{job}.nc", 200),
    ]
    assert len(store.calls("POST", "/execution")) == 1
    assert (tmp_path / "file").read_bytes() == FILE


def test_the_client_itself_waits_for_a_job_in_the_queue(tmp_path):
    with CdsServer(some_file, queue_polls=1, run_polls=0) as server:
        path = server.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
        assert (tmp_path / "file").stat().st_size == len(FILE), path


def test_the_log_of_a_job_reaches_the_user_once():
    lines = []
    with CdsServer(some_file) as server:
        client = server.client(log_callback=lambda level, text: lines.append(text))
        remote = client.submit(SINGLE, PRESSURE)
        while remote.status != "successful":
            continue
    shown = [line for line in lines if not line.startswith(("GET", "POST", "REPLY"))]
    assert "status has been updated to running" in shown
    for line in ("The request has been queued.", "The request is running."):
        assert shown.count(line) == 1


def test_a_fresh_client_finds_a_job_by_its_id(store, tmp_path):
    request_id = store.client().submit(SINGLE, PRESSURE).request_id
    again = store.client().get_remote(request_id)
    assert again.request == PRESSURE
    again.download(str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == FILE
    assert list(store.jobs) == [request_id]
    assert len(store.calls("POST", "/execution")) == 1


def test_a_file_may_be_served_from_disk(tmp_path):
    (tmp_path / "served").write_bytes(FILE)
    with CdsServer(
        lambda dataset, inputs: tmp_path / "served", queue_polls=0, run_polls=0
    ) as server:
        server.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == FILE


# Many jobs.


def test_jobs_are_listed_in_pages_newest_first(store):
    client = store.client()
    ids = [client.submit(SINGLE, PRESSURE).request_id for _ in range(5)]
    first = client.get_jobs(limit=2)
    second = first.next
    third = second.next
    pages = [first.request_ids, second.request_ids, third.request_ids]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert third.next is None
    assert first.prev is None
    assert third.prev.request_ids == second.request_ids
    assert client.get_jobs(sortby="created").request_ids == ids


def test_jobs_are_listed_by_status(store):
    client = store.client()
    done = client.submit(SINGLE, PRESSURE).request_id
    store.fail("submit", "job_failed")
    failed = client.submit(SINGLE, PRESSURE).request_id
    assert client.get_jobs(status="failed").request_ids == [failed]
    assert client.get_jobs(status=["failed", "successful"]).request_ids == [failed, done]
    assert client.get_jobs(status="running").request_ids == []


def test_the_most_jobs_at_once_are_counted():
    # More than the sockets hold: a download lasts until it is read.
    with CdsServer(lambda dataset, inputs: FILE * 32) as server:
        client = server.client()
        remotes = [client.submit(SINGLE, PRESSURE) for _ in range(3)]
        for remote in remotes:
            while remote.status != "successful":
                continue
        assert server.max_in_flight == 3
        client.submit(SINGLE, PRESSURE)
        # Finished jobs count no more.
        assert server.max_in_flight == 3
        server.max_in_flight = 0
        locations = [remote.get_results().location for remote in remotes]
        open_downloads = [requests.get(url, stream=True, timeout=5) for url in locations]
        # Three downloads and the job that waits.
        assert server.max_in_flight == 4
        for download in open_downloads:
            download.close()


def test_two_at_a_time_are_never_three(tmp_path):
    def fetch(index):
        remote = server.client().submit(SINGLE, PRESSURE)
        while remote.status != "successful":
            continue
        remote.download(str(tmp_path / f"file{index}"))

    with CdsServer(some_file) as server:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(fetch, range(20)))
        assert server.max_in_flight == 2
        assert len(server.jobs) == 20


def test_the_store_leaves_nothing_open():
    threads = threading.active_count()
    with CdsServer(some_file) as server:
        client = server.client()
        client.submit(SINGLE, PRESSURE)
        assert threading.active_count() > threads
    assert threading.active_count() == threads
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get_jobs()

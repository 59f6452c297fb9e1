"""What goes wrong in the store on loopback, and how its client says so."""

import zipfile

import pytest
import requests
from cds_server import CdsServer
from cds_server_era5 import FILE, HEIGHT, PRESSURE, SINGLE, UPPER, some_file
from ecmwf.datastores.processing import DownloadError


@pytest.fixture
def store():
    """A store that serves some bytes without a queue."""
    with CdsServer(some_file, queue_polls=0, run_polls=0) as server:
        yield server


# Errors.


@pytest.mark.parametrize("where", ["submit", "poll", "results"])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "429 Client Error: Too Many Requests"),
        (500, "500 Server Error"),
        (503, "503 Server Error: Service Unavailable"),
        (401, r"401 Client Error: Unauthorized(?s:.*)Authentication failed"),
    ],
)
def test_an_http_error_names_its_status(store, tmp_path, where, status, words):
    store.fail(where, status)
    with pytest.raises(requests.HTTPError, match=words) as caught:
        store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert caught.value.response.status_code == status
    assert ("Retry-After" in caught.value.response.headers) == (status == 429)
    assert store.log[-1].status == status
    # The fault is used up.
    store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))


def test_the_client_tries_again_when_it_is_told_to(store, tmp_path):
    store.fail("submit", 503, times=2)
    store.fail("poll", 429)
    store.fail("poll", "cut")
    store.client(maximum_tries=4).retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert [call.status for call in store.calls("POST", "/execution")] == [503, 503, 201]
    (job,) = store.jobs
    assert [call.status for call in store.calls("GET", job)] == [429, 0, 200, 200]


def test_a_licence_must_be_accepted():
    with CdsServer(some_file, licence_accepted=False) as server:
        client = server.client()
        assert client.get_accepted_licences() == []
        with pytest.raises(requests.HTTPError, match=r"403(?s:.*)required licences not accepted"):
            client.submit(SINGLE, PRESSURE)
        assert not server.jobs
        (licence,) = client.get_licences()
        client.accept_licence(licence["id"], licence["revision"])
        assert client.get_accepted_licences() == [licence]
        assert client.submit(SINGLE, PRESSURE).status == "accepted"


def test_a_wrong_key_is_refused_wherever_a_key_is_needed(store):
    right, wrong = store.client(), store.client(key="another")
    assert right.check_authentication()["role"] == "registered"
    job = right.submit(SINGLE, PRESSURE).request_id
    for call in (
        wrong.check_authentication,
        lambda: wrong.submit(SINGLE, PRESSURE),
        lambda: wrong.get_remote(job),
        wrong.get_jobs,
    ):
        with pytest.raises(requests.HTTPError, match="401 Client Error: Unauthorized"):
            call()
    assert len(store.jobs) == 1


def test_a_request_that_costs_too_much_is_refused_twice():
    # 2 levels x 6 days.
    with CdsServer(some_file, cost_limit=11) as server:
        client = server.client()
        estimate = client.estimate_costs(UPPER, HEIGHT)
        assert (estimate["id"], estimate["cost"], estimate["limit"]) == ("size", 12.0, 11.0)
        with pytest.raises(
            requests.HTTPError, match=r"403(?s:.*)cost limits exceeded\nYour request"
        ):
            client.submit(UPPER, HEIGHT)
        assert not server.jobs
        assert client.estimate_costs(SINGLE, PRESSURE)["cost"] == 6.0
        client.submit(SINGLE, PRESSURE)


def test_costing_may_fail_on_its_own(store):
    store.fail("costing", 500)
    with pytest.raises(requests.HTTPError, match="500 Server Error"):
        store.client().estimate_costs(SINGLE, PRESSURE)
    assert store.client().estimate_costs(SINGLE, PRESSURE)["cost"] == 6.0


@pytest.mark.parametrize(("kind", "words"), [("failed", "failed"), ("rejected", "been rejected")])
@pytest.mark.parametrize("where", ["submit", "poll"])
def test_a_job_may_fail_or_be_rejected(store, where, kind, words):
    store.fail(where, f"job_{kind}")
    remote = store.client().submit(SINGLE, PRESSURE)
    with pytest.raises(requests.HTTPError, match=rf"400(?s:.*)The job has {words}\n"):
        remote.get_results()
    assert remote.status == kind
    assert store.client().submit(SINGLE, PRESSURE).status == "successful"


def test_what_cannot_be_served_fails_with_its_reason():
    def serve(dataset, inputs):
        raise ValueError("no such field")

    with CdsServer(serve, queue_polls=0, run_polls=0) as server:
        remote = server.client().submit(SINGLE, PRESSURE)
        with pytest.raises(requests.HTTPError, match="The job failed with: no such field"):
            remote.get_results()


def test_a_job_that_is_gone_is_not_found(store):
    client = store.client()
    remote = client.submit(SINGLE, PRESSURE)
    store.fail("poll", "job_expired")
    for _ in range(2):
        with pytest.raises(requests.HTTPError, match=r"404(?s:.*)job not found"):
            client.get_remote(remote.request_id)
    assert client.get_jobs().request_ids == []
    assert store.jobs[remote.request_id].status == "deleted"
    with pytest.raises(requests.HTTPError, match=r"404(?s:.*)job not found"):
        client.get_remote("no-such-job")


def test_a_job_may_be_deleted(store):
    client = store.client()
    one, two, three = (client.submit(SINGLE, PRESSURE) for _ in range(3))
    assert one.delete()["status"] == "dismissed"
    client.delete(two.request_id)
    assert client.get_jobs().request_ids == [three.request_id]
    with pytest.raises(requests.HTTPError, match="404 Client Error"):
        _ = one.status


def test_the_file_of_a_job_may_expire(store, tmp_path):
    remote = store.client().submit(SINGLE, PRESSURE)
    results = remote.get_results()
    store.fail("download", "job_expired")
    with pytest.raises(DownloadError, match=f"downloaded 0 byte.s. out of {len(FILE)}"):
        results.download(str(tmp_path / "file"))
    assert remote.status == "successful"
    with pytest.raises(requests.HTTPError, match=r"404(?s:.*)results expired\nresults of job"):
        remote.get_results()


# Broken downloads.


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_download_that_is_refused_leaves_an_empty_file(store, tmp_path, status):
    store.fail("download", status)
    with pytest.raises(DownloadError, match=f"downloaded 0 byte.s. out of {len(FILE)}"):
        store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b""


def test_a_connection_cut_in_mid_file_leaves_its_beginning(store, tmp_path):
    store.fail("download", "cut", after_bytes=300_000)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert FILE.startswith((tmp_path / "file").read_bytes())
    assert (tmp_path / "file").stat().st_size < len(FILE)


def test_a_client_that_tries_again_asks_for_the_rest(store, tmp_path):
    # Whole blocks of the client's megabyte only are kept: a file of several.
    store.serve = lambda dataset, inputs: FILE * 4
    store.fail("download", "cut", after_bytes=3_000_000)
    store.client(maximum_tries=2).retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == FILE * 4
    (job,) = store.jobs
    assert [call.status for call in store.calls("GET", f"{job}.nc")] == [200, 206]


def test_a_file_of_the_wrong_size_is_noticed_by_the_client(store, tmp_path):
    for where in ("results", "download"):
        store.fail(where, "wrong_size")
        with pytest.raises(DownloadError, match="out of"):
            store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))


def test_an_error_page_in_place_of_a_file_is_noticed_by_its_size_only(store, tmp_path):
    store.fail("download", "html")
    with pytest.raises(DownloadError, match="out of"):
        store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    store.fail("results", "html")
    store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("where", ["results", "download"])
def test_the_client_does_not_notice_a_zip_in_place_of_a_file(store, tmp_path, where):
    store.fail(where, "zip")
    path = store.client().retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.namelist()
        assert archive.read(member) == FILE


def test_a_slow_answer_runs_into_the_timeout(tmp_path):
    with CdsServer(some_file, queue_polls=0, run_polls=0, slow_s=30.0) as server:
        client = server.client(timeout=0.5)
        server.fail("submit", "slow")
        with pytest.raises(requests.exceptions.ReadTimeout):
            client.submit(SINGLE, PRESSURE)
        # A file that stops coming.
        server.fail("download", "slow", after_bytes=10_000)
        with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
            client.retrieve(SINGLE, PRESSURE, str(tmp_path / "file"))
    # The end of the store does not wait for them.


def test_the_job_of_a_lost_answer_is_there(store):
    store.fail("submit", "cut")
    with pytest.raises(requests.exceptions.ConnectionError):
        store.client().submit(SINGLE, PRESSURE)
    assert store.client().get_jobs().request_ids == list(store.jobs)
    assert len(store.jobs) == 1


def test_an_error_page_with_status_200_is_no_json(store):
    store.fail("poll", "html")
    remote = store.client().submit(SINGLE, PRESSURE)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        _ = remote.status


def test_a_fault_may_be_for_some_jobs_only(store):
    store.fail("poll", 500, of="geopotential")
    client = store.client()
    one, two = client.submit(SINGLE, PRESSURE), client.submit(UPPER, HEIGHT)
    assert one.status == "successful"
    with pytest.raises(requests.HTTPError):
        _ = two.status
    assert two.status == "successful"


def test_a_fault_that_cannot_be_is_refused(store):
    for where, status in [("nowhere", 500), ("poll", "zip"), ("poll", "unknown")]:
        with pytest.raises(ValueError, match="no such fault"):
            store.fail(where, status)

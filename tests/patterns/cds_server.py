"""A Climate Data Store on loopback: the protocol that ``ecmwf.datastores`` speaks, with faults.

    with CdsServer(era5_response) as store:
        store.fail("poll", 503, times=2)
        Client(url=store.url, key=store.key).retrieve(dataset, request, target)

A request becomes a job, which is accepted for ``queue_polls`` looks at it, running for another
``run_polls``, then successful; looks, not seconds, so that tests need not wait. What the store
answers is in `cds_server_api` and `cds_server_jobs`, how it is sent in `cds_server_http`, true
files for ERA5 requests in `cds_server_era5`.
"""

import datetime
import hashlib
import json
import math
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests
from cds_server_era5 import era5_response
from cds_server_http import StoreHttpServer
from ecmwf.datastores import Client

__all__ = ["Call", "CdsServer", "Job", "era5_response"]

PLACES = ("submit", "poll", "results", "download", "costing", "auth")
PLACES += ("messages", "process", "list", "constraints", "licences", "delete")
# Where each kind of fault can be; statuses can be anywhere.
FAULTS = {
    "cut": PLACES, "slow": PLACES, "html": PLACES,
    "wrong_size": ("results", "download"), "zip": ("results", "download"),
    "job_failed": ("submit", "poll"), "job_rejected": ("submit", "poll"),
    "job_expired": ("poll", "results", "download"),
}  # fmt: skip
OPEN = ("accepted", "running")


@dataclass
class Job:
    """A request as the store keeps it; ``status`` as of the last look, ``order`` from 1."""

    id: str
    dataset: str
    inputs: dict
    order: int
    status: str = "accepted"
    fate: str = "successful"
    error: str = ""
    polls: int = 0
    downloads: int = 0
    content: bytes | Path | None = None
    content_type: str = ""
    checksum: str = ""
    times: dict = field(default_factory=dict)
    log: list = field(default_factory=list)
    claimed: "Fault | None" = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def mark(self, *names: str) -> None:
        """Note that ``created``, ``started``, ... is now."""
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat()
        self.times.update(dict.fromkeys((*names, "updated"), now))


@dataclass(frozen=True)
class Call:
    """A call as it was answered; status 0 where no answer was sent."""

    method: str
    path: str
    status: int


@dataclass
class Fault:
    """What goes wrong, where, how many more times, and for which jobs."""

    where: str
    kind: int | str
    times: int
    after_bytes: int | None
    of: str


class CdsServer:
    """The store; a context manager that listens on a free port of 127.0.0.1.

    Args:
        serve: makes the file of a request from data set and inputs; a ``ValueError`` fails the job.
        key: the one that is let in.
        queue_polls, run_polls: looks at a job that find it accepted, and then running.
        cost_limit: most fields (variables x levels x times) of one request.
        licence_accepted: whether the account has accepted the licence of the data sets.
        slow_s: how long a slow answer waits.
        retry_after_s: what an answer 429 asks for.
    """

    def __init__(
        self,
        serve: Callable[[str, dict], bytes | Path],
        key: str = "test-key",
        queue_polls: int = 1,
        run_polls: int = 1,
        cost_limit: float = 60_000,
        licence_accepted: bool = True,
        slow_s: float = 1.0,
        retry_after_s: int = 1,
    ):
        self.serve, self.key = serve, key
        self.queue_polls, self.run_polls = queue_polls, run_polls
        self.cost_limit, self.licence_accepted = cost_limit, licence_accepted
        self.slow_s, self.retry_after_s = slow_s, retry_after_s
        self.jobs: dict[str, Job] = {}
        self.log: list[Call] = []
        self.max_in_flight = 0
        self.errors: list[str] = []
        self.closing = threading.Event()
        self._faults: list[Fault] = []
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()
        self._http = StoreHttpServer(self)
        self.root = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.url = f"{self.root}/api"

    def __enter__(self):
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, kind, error, traceback):
        self.closing.set()
        for session in self._sessions:
            session.close()
        self._http.close()
        self._thread.join()
        if self.errors and error is None:
            raise RuntimeError("the store itself failed:\n" + "\n".join(self.errors))

    def client(self, **options: object) -> Client:
        """The real client, which tries once and waits for nothing unless ``options`` say so."""
        self._sessions.append(requests.Session())
        settings = {"url": self.url, "key": self.key, "timeout": 5, "progress": False}
        settings |= {"maximum_tries": 1, "retry_after": 0.01, "sleep_max": 0.1}
        return Client(session=self._sessions[-1], **settings | options)

    def fail(
        self,
        where: str,
        status: int | str,
        times: int = 1,
        after_bytes: int | None = None,
        of: str = "",
    ) -> None:
        """Queue a fault for the next calls at ``where``.

        Args:
            where: submit, poll, results, download, costing, auth; also messages, process, list,
                constraints, licences, delete.
            status: an HTTP status as the store words it (429 asks for patience, 401 refuses the
                key, 403 misses a licence, 404 knows the job no more), or

                - ``cut``: the connection ends after ``after_bytes`` of the answer (default: half
                  of a file, nothing of other answers). What was asked is done: a submitted job
                  exists;
                - ``slow``: the answer waits, in a download after ``after_bytes``;
                - ``wrong_size``: a file that is shorter than announced;
                - ``html``: an error page, status 200, in place of the answer or the file; at
                  ``results`` a page is what the store has made: it is announced with its own
                  size, and only its content tells;
                - ``zip``: the file in a ZIP archive, announced as such;
                - ``job_failed``, ``job_rejected``: at ``submit`` what will become of the job, at
                  ``poll`` what has;
                - ``job_expired``: at ``poll`` the job is gone, at ``results`` or ``download``
                  only its file; for good.
            times: for so many calls.
            of: only for jobs whose inputs, as JSON, hold this text.
        """
        if where not in (FAULTS.get(status, ()) if isinstance(status, str) else PLACES):
            raise ValueError(f"no such fault: {where} {status}")
        # What is delivered is announced by the results.
        where = "results" if (where, status) == ("download", "zip") else where
        with self._lock:
            self._faults.append(Fault(where, status, times, after_bytes, of))

    def take_fault(
        self, where: str, job: Job | None, inputs: dict | None, claim: bool = False
    ) -> Fault | None:
        """The fault for a call, which uses it up by one; None: all is well.

        A download is two calls, HEAD and GET: the first claims the fault for the second.
        """
        text = json.dumps(job.inputs if job else inputs or {})
        with self._lock:
            if job and job.claimed and where == "download":
                fault, job.claimed = job.claimed, job.claimed if claim else None
                return fault
            for fault in self._faults:
                if fault.where == where and fault.times > 0 and fault.of in text:
                    fault.times -= 1
                    if claim:
                        job.claimed = fault
                    return fault
        return None

    def note(self, method: str, path: str, status: int) -> None:
        """Log a call."""
        with self._lock:
            self.log.append(Call(method, path, status))

    def calls(self, method: str, ending: str) -> list[Call]:
        """The logged calls of a method whose path has ``ending`` at its end."""
        with self._lock:
            return [c for c in self.log if c.method == method and c.path.endswith(ending)]

    def cost_of(self, inputs: dict) -> float:
        """Fields of a request, as the store counts them."""
        keys = ("variable", "pressure_level", "year", "month", "day", "time")
        lists = [inputs[key] for key in keys if key in inputs]
        return float(math.prod(1 if isinstance(values, str) else len(values) for values in lists))

    def submit(self, dataset: str, inputs: dict, fate: str = "successful") -> Job:
        """A new job."""
        with self._lock:
            job = Job(str(uuid.uuid4()), dataset, inputs, len(self.jobs) + 1, fate=fate)
            job.mark("created")
            job.log.append((job.times["created"], "The request has been queued."))
            self.jobs[job.id] = job
        self._count()
        return job

    def look(self, job: Job) -> None:
        """Bring a job as far as one more look at it finds it; its file is made at its success."""
        with job.lock:
            if job.status not in OPEN:
                return
            job.polls += 1
            if job.fate == "rejected":
                self.end(job, "rejected", "The request was rejected by the store.")
            elif job.polls > self.queue_polls + self.run_polls:
                self._finish(job)
            elif job.polls > self.queue_polls and job.status == "accepted":
                job.status = "running"
                job.mark("started")
                job.log.append((job.times["started"], "INFO: The request is running."))

    def _finish(self, job: Job) -> None:
        if job.fate == "failed":
            self.end(job, "failed", "The job failed with: MarsRuntimeError")
            return
        try:
            self.put(job, self.serve(job.dataset, job.inputs))
        except ValueError as error:
            self.end(job, "failed", f"The job failed with: {error}")
            return
        self.end(job, "successful")

    def end(self, job: Job, status: str, error: str = "") -> None:
        """Give a job its last status."""
        job.status, job.error = status, error
        job.mark("finished")

    def put(self, job: Job, content: bytes | Path) -> None:
        """Make ``content`` the file of a job."""
        head, checksum = _inspect(content)
        kinds = {b"PK": "application/zip", b"GR": "application/x-grib", b"<!": "text/html"}
        job.content, job.checksum = content, checksum
        job.content_type = kinds.get(head, "application/netcdf")

    def expire(self, job: Job, place: str) -> None:
        """Forget a job, or only its file."""
        if place == "poll":
            self.end(job, "deleted")
        job.content = None

    def size_of(self, job: Job) -> int:
        """Bytes of the file of a job."""
        if isinstance(job.content, Path):
            return job.content.stat().st_size
        return len(job.content or b"")

    def downloading(self, job: Job, change: int) -> None:
        """Count a download that begins (+1) or ends (-1)."""
        with self._lock:
            job.downloads += change
        self._count()

    def _count(self) -> None:
        with self._lock:
            open_jobs = [job for job in self.jobs.values() if job.status in OPEN or job.downloads]
            self.max_in_flight = max(self.max_in_flight, len(open_jobs))


def _inspect(content: bytes | Path) -> tuple[bytes, str]:
    """First two bytes and MD5."""
    data = content.read_bytes() if isinstance(content, Path) else content
    return data[:2], hashlib.md5(data, usedforsecurity=False).hexdigest()

"""What the store of `cds_server` answers about jobs, their results and their files."""

import base64
import io
import re
import urllib.parse
import zipfile
from pathlib import Path

from cds_server_answers import (
    ERROR_PAGE,
    OGC,
    Sending,
    json_answer,
    link,
    problem,
    refusal,
    xml,
)

SUFFIXES = {"application/zip": "zip", "application/x-grib": "grib", "text/html": "html"}
GONE = ("dismissed", "deleted")


def list_jobs(store, request, _, kind):
    """Pages by a cursor, newest first unless ``sortby`` is ``created``."""
    query = request.query
    limit = int(query.get("limit", ["100"])[0])
    newest_first = query.get("sortby", ["-created"])[0] == "-created"
    chosen = [job for job in list(store.jobs.values()) if job.status not in GONE]
    for job in chosen:
        store.look(job)
    statuses = query.get("status")
    chosen = [job for job in chosen if not statuses or job.status in statuses]
    chosen.sort(key=lambda job: job.order, reverse=newest_first)
    first = 0
    if "cursor" in query:
        # The job at the cursor may be among the chosen no more: count those before it.
        at = int(base64.b64decode(query["cursor"][0]))
        before = sum(job.order > at if newest_first else job.order < at for job in chosen)
        back = query.get("back", ["False"])[0] == "True"
        first = max(0, before - limit) if back else before + any(j.order == at for j in chosen)
    page = chosen[first : first + limit]
    links = [link("self", store.root + request.path)]
    if page and first + limit < len(chosen):
        links.append(link("next", _page(store, request, page[-1], "False")))
    if page and first > 0:
        links.append(link("prev", _page(store, request, page[0], "True")))
    infos = [status_info(store, job) for job in page]
    return json_answer({"jobs": infos, "links": links, "metadata": {"totalCount": len(chosen)}})


def _page(store, request, job, back):
    kept = [(k, v) for k, vs in request.query.items() if k not in ("cursor", "back") for v in vs]
    cursor = base64.b64encode(str(job.order).encode()).decode()
    query = urllib.parse.urlencode([*kept, ("cursor", cursor), ("back", back)])
    return f"{store.root}{request.path}?{query}"


def one_job(store, request, job, kind):
    """A look at a job, or its end."""
    if request.method == "DELETE":
        store.end(job, "dismissed")
        return json_answer(status_info(store, job))
    if kind in ("job_failed", "job_rejected"):
        store.end(job, kind.removeprefix("job_"), "The job failed with: MarsRuntimeError")
    elif kind == "job_expired":
        return refusal(store, request, "poll", 404)
    store.look(job)
    info = status_info(store, job, monitored=True)
    if request.query.get("request") == ["True"]:
        info["metadata"]["request"] = {"ids": job.inputs, "labels": {}}
    if request.query.get("log") == ["True"]:
        since = request.query.get("logStartTime", [""])[0]
        info["metadata"]["log"] = [line for line in job.log if line[0] > since]
    return json_answer(info)


def delete_jobs(store, request, _, kind):
    """Dismiss several jobs."""
    jobs = [store.jobs[name] for name in request.body["job_ids"] if name in store.jobs]
    for job in jobs:
        store.end(job, "dismissed")
    return json_answer({"jobs": [status_info(store, job) for job in jobs], "links": []})


def status_info(store, job, monitored=False):
    """A job as JSON; ``monitored`` with the links that only single jobs have."""
    url = f"{store.url}/retrieve/v1/jobs/{job.id}"
    links = [link("self", url)]
    if monitored:
        links.append(link("monitor", url))
    if job.status in ("successful", "failed", "rejected"):
        links.append(link("results", f"{url}/results"))
    times = {name: job.times.get(name) for name in ("created", "started", "finished", "updated")}
    return {
        "processID": job.dataset, "type": "process", "jobID": job.id, "status": job.status,
        **times, "links": links, "metadata": {"origin": "api"},
    }  # fmt: skip


def results(store, request, job, kind):
    """Where the file of a job is, and how large; errors of jobs that have none."""
    if job.status in ("failed", "rejected"):
        title = f"The job has {'failed' if job.status == 'failed' else 'been rejected'}"
        return problem(request, 400, "job results failed", title, traceback=job.error)
    if job.status != "successful":
        detail = f"status of {job.id} is '{job.status}'"
        kind = f"{OGC}result-not-ready"
        return problem(request, 404, kind, "job results not ready", detail)
    if job.content is None:
        return refusal(store, request, "results", 404)
    if kind == "zip":
        store.put(job, _zipped(job.content))
    elif kind == "html":
        store.put(job, ERROR_PAGE)
    name = f"{job.id}.{SUFFIXES.get(job.content_type, 'nc')}"
    value = {
        "type": job.content_type,
        "href": f"{store.root}/cache/{name}",
        "file:checksum": job.checksum,
        "file:size": store.size_of(job) + (1000 if kind == "wrong_size" else 0),
        "file:local_path": f"s3://cache/{name}",
    }
    return json_answer({"asset": {"value": value}})


def download(store, request, job, kind):
    """The file as an object store gives it: length, checksum, ranges."""
    if job.content is None:
        return refusal(store, request, "download", 404)
    body = job.content.read_bytes() if isinstance(job.content, Path) else job.content
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{job.checksum}"'}
    if kind == "html":
        return Sending(200, ERROR_PAGE, "text/html")
    if kind == "wrong_size":
        body = body[: -max(1, len(body) // 10)]
    status, asked = 200, re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked:
        start, stop = int(asked[1]), int(asked[2] or len(body) - 1) + 1
        if start >= len(body):
            return Sending(416, xml("InvalidRange"), "application/xml")
        headers["Content-Range"] = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
        status, body = 206, body[start:stop]
    return Sending(status, body, job.content_type, headers, job=job)


def _zipped(content):
    body = content.read_bytes() if isinstance(content, Path) else content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data_stream-oper_stepType-instant.nc", body)
    return packed.getvalue()

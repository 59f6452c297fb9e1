"""Which call of the Climate Data Store is answered how; catalogue, account and requests."""

import re

import cds_server_jobs as jobs
from cds_server_answers import (
    ERROR_PAGE,
    OGC,
    Request,
    Sending,
    json_answer,
    link,
    problem,
    refusal,
)
from cds_server_era5 import SINGLE, UPPER
from era5_files import VARIABLES

DATASETS = (SINGLE, UPPER)
LICENCE = {"id": "cc-by", "revision": 1, "label": "CC-BY licence", "scope": "dataset"}
# What the store answers without a key.
PUBLIC = ("messages", "process", "costing", "constraints", "download")


def answer(store, request: Request) -> Sending:
    """The answer to a call, after the faults that wait for it."""
    place, function, names = _route(request)
    if function is None:
        return problem(request, 404, "not found", "Not Found")
    if place not in PUBLIC and request.headers.get("private-token") != store.key:
        return refusal(store, request, place, 401)
    if "dataset" in names and names["dataset"] not in DATASETS:
        detail = f"dataset {names['dataset']} not found"
        return problem(request, 404, f"{OGC}no-such-process", "process not found", detail)
    job = store.jobs.get(names["job"]) if "job" in names else None
    if "job" in names and (job is None or job.status in jobs.GONE):
        return refusal(store, request, place, 404)
    fault = store.take_fault(place, job, request.body.get("inputs"), request.method == "HEAD")
    if fault and isinstance(fault.kind, int):
        return refusal(store, request, place, fault.kind)
    kind = fault.kind if fault else ""
    if kind == "job_expired":
        store.expire(job, place)
    if kind == "html" and place not in ("results", "download"):
        return Sending(200, ERROR_PAGE, "text/html")
    sending = function(store, request, job if job else names.get("dataset"), kind)
    if kind == "slow" and request.method != "HEAD":
        sending.stall_after = -1 if fault.after_bytes is None else fault.after_bytes
    if kind == "cut" and request.method != "HEAD":
        half = len(sending.body) // 2 if place == "download" else -1
        sending.cut_after = half if fault.after_bytes is None else fault.after_bytes
    return sending


def _route(request):
    for methods, pattern, place, function in ROUTES:
        match = re.fullmatch(pattern, request.path)
        if match and request.method in methods:
            return place, function, match.groupdict()
    return "", None, {}


# Catalogue and account.


def _messages(store, request, _, kind):
    return json_answer({"messages": []})


def _collection(store, request, dataset, kind):
    retrieve = f"{store.url}/retrieve/v1/processes/{dataset}"
    period = ["1940-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]
    extent = {"spatial": {"bbox": [[0, -90, 360, 90]]}, "temporal": {"interval": [period]}}
    links = [link("self", store.root + request.path), link("retrieve", retrieve)]
    return json_answer({"type": "Collection", "id": dataset, "extent": extent, "links": links})


def _verification(store, request, _, kind):
    return json_answer({"id": 1, "sub": "1", "email": "someone@example.org", "role": "registered"})


def _licences(store, request, _, kind):
    if request.method == "PUT":
        store.licence_accepted = True
        return json_answer({"id": LICENCE["id"], "revision": request.body["revision"]})
    known = "account" not in request.path or store.licence_accepted
    return json_answer({"licences": [LICENCE] if known else []})


# Requests.


def _process(store, request, dataset, kind):
    here = f"{store.url}/retrieve/v1/processes"
    if dataset is None:
        return json_answer({"processes": [{"id": name} for name in DATASETS], "links": []})
    links = [link("self", f"{here}/{dataset}"), link("execute", f"{here}/{dataset}/execution")]
    outputs = {"asset": {"title": "Asset", "schema": {"type": "object"}}}
    return json_answer({"id": dataset, "version": "1.0.0", "links": links, "outputs": outputs})


def _costing(store, request, dataset, kind):
    cost = store.cost_of(request.body["inputs"])
    more = {"cost_bar_steps": None, "request_is_valid": True, "invalid_reason": None}
    return json_answer({"id": "size", "cost": cost, "limit": float(store.cost_limit), **more})


def _constraints(store, request, dataset, kind):
    levels = dataset == UPPER
    upper = ("z", "t", "u", "v", "r", "vo", "q", "w", "d")
    variables = [cds for name, (_, cds, *_) in VARIABLES.items() if (name in upper) == levels]
    return json_answer({"product_type": ["reanalysis"], "variable": variables})


def _execution(store, request, dataset, kind):
    if not store.licence_accepted:
        return refusal(store, request, "submit", 403)
    inputs = request.body["inputs"]
    if store.cost_of(inputs) > store.cost_limit:
        detail = "Your request is too large, please reduce your selection."
        return problem(request, 403, "permission denied", "cost limits exceeded", detail)
    fate = kind.removeprefix("job_") if kind.startswith("job_") else "successful"
    job = store.submit(dataset, inputs, fate)
    return json_answer(jobs.status_info(store, job, monitored=True), 201)


_RETRIEVE, _JOB = "/api/retrieve/v1", "/api/retrieve/v1/jobs/(?P<job>[^/]+)"
_PROCESS = f"{_RETRIEVE}/processes/(?P<dataset>[^/]+)"
_ACCOUNT = "/api/profiles/v1/account"
ROUTES = (
    (("GET",), "/api/catalogue/v1/messages", "messages", _messages),
    (("GET",), "/api/catalogue/v1/collections/(?P<dataset>[^/]+)", "process", _collection),
    (("GET",), "/api/catalogue/v1/vocabularies/licences", "messages", _licences),
    (("POST",), f"{_ACCOUNT}/verification/pat", "auth", _verification),
    (("GET",), f"{_ACCOUNT}/licences", "licences", _licences),
    (("PUT",), f"{_ACCOUNT}/licences/{LICENCE['id']}", "licences", _licences),
    (("GET",), f"{_RETRIEVE}/processes", "process", _process),
    (("GET",), _PROCESS, "process", _process),
    (("POST",), f"{_PROCESS}/costing", "costing", _costing),
    (("POST",), f"{_PROCESS}/constraints", "constraints", _constraints),
    (("POST",), f"{_PROCESS}/execution", "submit", _execution),
    (("GET",), f"{_RETRIEVE}/jobs", "list", jobs.list_jobs),
    (("POST",), f"{_RETRIEVE}/jobs/delete", "delete", jobs.delete_jobs),
    (("GET",), _JOB, "poll", jobs.one_job),
    (("DELETE",), _JOB, "delete", jobs.one_job),
    (("GET",), f"{_JOB}/results", "results", jobs.results),
    (("GET", "HEAD"), r"/cache/(?P<job>[^/.]+)\.\w+", "download", jobs.download),
)
"""Methods, path, place (the word of `CdsServer.fail`) and the function that answers."""

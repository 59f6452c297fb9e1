"""The forms of answers of the store of `cds_server`: JSON, errors in its words, XML."""

import json
from dataclasses import dataclass, field

OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/"
ERROR_PAGE = b"<!DOCTYPE html>\n<html><body><h1>The service is unavailable</h1></body></html>\n"


@dataclass
class Request:
    """A call as it came in; ``query`` maps names to lists."""

    method: str
    path: str
    query: dict
    headers: dict
    body: dict


@dataclass
class Sending:
    """An answer and what happens to it on the way.

    After ``cut_after`` bytes of the body the connection ends, after ``stall_after`` it pauses;
    -1: before anything is sent. ``job`` is the one whose file this is.
    """

    status: int
    body: bytes = b""
    type: str = "application/json"
    headers: dict = field(default_factory=dict)
    cut_after: int | None = None
    stall_after: int | None = None
    job: object = None


def refusal(store, request, place, status):
    """An error in the words of the store, of the gateway before it or of the object store."""
    headers = {"Retry-After": store.retry_after_s} if status == 429 else {}
    if place == "download":
        codes = {403: "AccessDenied", 404: "NoSuchKey", 429: "SlowDown", 503: "SlowDown"}
        body = xml(codes.get(status, "InternalError"))
        return Sending(status, body, "application/xml", headers)
    if status > 500:
        return Sending(status, ERROR_PAGE, "text/html", headers)
    job = request.path.split("/jobs/")[-1].split("/")[0]
    denied, page = "permission denied", f"{store.root}/datasets?tab=download#manage-licences"
    missing = f"Not all the required licences have been accepted; please visit {page} to accept"
    words = {
        400: ("invalid request", "invalid request", "The request is not valid."),
        401: (denied, "Authentication failed", "The key is not known."),
        403: (denied, "required licences not accepted", f"{missing} the required licence(s)."),
        404: (f"{OGC}no-such-job", "job not found", f"job {job} not found"),
        429: ("rate limit exceeded", "too many requests", "Please try again later."),
        500: ("internal server error", "internal server error", None),
    }
    if place == "results" and status == 404:
        words[404] = ("results expired", "results expired", f"results of job {job} expired")
    kind, title, detail = words.get(status, ("error", "error", None))
    return problem(request, status, kind, title, detail, headers=headers)


def problem(request, status, kind, title, detail=None, traceback=None, headers=None):
    """An error as the store words it; what is None is left out."""
    content = {
        "type": kind, "title": title, "status": status, "detail": detail,
        "instance": request.path, "trace_id": "0", "traceback": traceback,
    }  # fmt: skip
    known = {name: value for name, value in content.items() if value is not None}
    return json_answer(known, status, headers or {})


def json_answer(content, status=200, headers=None):
    """An answer in JSON."""
    return Sending(status, json.dumps(content).encode(), headers=headers or {})


def link(rel, href):
    """One of the ``links`` of an answer."""
    return {"rel": rel, "href": href, "type": "application/json"}


def xml(code):
    """An error as an object store words it."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode()

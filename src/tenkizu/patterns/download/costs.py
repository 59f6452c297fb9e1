"""What requests cost, asked before anything is submitted."""

from collections.abc import Sequence

from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.server import SMALLER, Cost, Server
from tenkizu.patterns.download.wanted import Request

_LISTED = 5


def costs_of(server: Server, requests: Sequence[Request]) -> list[Cost]:
    """The cost of each request; those that differ in year only are asked for once.

    Raises:
        DownloadError: the server does not say.
    """
    known: dict[tuple[object, ...], Cost] = {}
    costs = []
    for request in requests:
        inputs = {key: value for key, value in request.inputs.items() if key != "year"}
        kind = (request.task.dataset, str(sorted(inputs.items())), len(request.times))
        if kind not in known:
            known[kind] = server.cost(request)
        costs.append(known[kind])
    return costs


def require_affordable(server: Server, requests: Sequence[Request]) -> None:
    """Raise if the data store would reject one of the requests for its size.

    Raises:
        DownloadError: with the costs, the limit and what to do.
    """
    costs = costs_of(server, requests)
    too_high = [(r, c) for r, c in zip(requests, costs, strict=True) if c.too_high]
    if not too_high:
        return
    names = [f"{request.name} ({cost.cost:g})" for request, cost in too_high]
    more = len(names) - _LISTED
    raise DownloadError(
        f"{len(names)} of {len(requests)} requests cost more than the data store allows; "
        "nothing was submitted",
        found=", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else ""),
        expected=f"at most {too_high[0][1].limit:g}",
        next_step=SMALLER,
    )

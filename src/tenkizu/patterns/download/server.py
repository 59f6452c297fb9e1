"""The data store: its official client, with our patience and our words."""

import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import requests
from ecmwf.datastores import Client
from ecmwf.datastores.client import T_STATUS
from ecmwf.datastores.processing import ProcessingFailedError, Remote, Results

from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.credentials import Credentials
from tenkizu.patterns.download.patience import Patience
from tenkizu.patterns.download.wanted import Request

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_POLL = 1 / 32
_POLL_GROWTH = 1.5
_GONE = (404, 410)
_LATEST = 20
SMALLER = "ask for less at once: download.split=month, or a smaller data.area"


class Gone(Exception):
    """The server has no result for a request, and will have none: it must be submitted anew."""


class KeyRefused(DownloadError):
    """The server does not know the key: nothing more can be asked of it."""


class LicenceMissing(DownloadError):
    """The account has not accepted the licence of a data set."""


@dataclass(frozen=True)
class Cost:
    """What a request costs in the units of the data store; the limit is None if it has none."""

    cost: float
    limit: float | None

    @property
    def too_high(self) -> bool:
        """Whether the request would be rejected."""
        return self.limit is not None and self.cost > self.limit


class Server:
    """One connection to the data store, for one thread.

    Args:
        credentials: address and key.
        patience: for every call.
        timeout_s: seconds of silence after which a connection is broken.
        poll_s: longest time between two looks at a request.
    """

    def __init__(
        self, credentials: Credentials, patience: Patience, timeout_s: float, poll_s: float
    ) -> None:
        self._credentials = credentials
        self.patience = patience
        self.timeout_s = timeout_s
        self._poll_s = poll_s
        self._client: Client | None = None

    @property
    def session(self) -> requests.Session:
        """The connections of the client; it sends no key by itself."""
        return self._connected().session

    def check_key(self) -> None:
        """Raise unless the server knows the key.

        Raises:
            KeyRefused: naming where the key was found and the page where there is another.
            DownloadError: the server does not answer.
        """
        self._call(lambda: self._connected().check_authentication(), "signing in", None)

    def cost(self, request: Request) -> Cost:
        """What a request would cost, without submitting it."""
        answer: dict[str, Any] = self._call(
            lambda: self._connected().estimate_costs(request.task.dataset, request.inputs),
            f"{request.name}: estimating its cost",
            request,
        )
        cost, limit = answer.get("cost"), answer.get("limit")
        known = isinstance(limit, int | float) and limit > 0
        return Cost(
            float(cost) if isinstance(cost, int | float) else 0.0,
            float(limit) if known and isinstance(limit, int | float) else None,
        )

    def submit(self, request: Request, perhaps_before: bool) -> Remote:
        """Submit a request, or find it at the server if it may be there already.

        Args:
            request: the request.
            perhaps_before: whether an earlier run may have submitted it. After an attempt without
                an answer this one may have, too.

        Raises:
            KeyRefused: it is no longer valid.
            LicenceMissing: of the data set.
            DownloadError: the server does not take it.
        """
        attempts = int(perhaps_before)

        def attempt() -> Remote:
            nonlocal attempts
            found = self._find(request) if attempts else None
            attempts += 1
            if found is not None:
                return found
            return self._connected().submit(request.task.dataset, request.inputs)

        return self._call(attempt, f"{request.name}: submitting", request)

    def _find(self, request: Request) -> Remote | None:
        """The latest of the account's requests that asks for the same, if any."""
        open_or_done: list[T_STATUS] = ["accepted", "running", "successful"]
        jobs = self._connected().get_jobs(_LATEST, "-created", open_or_done)
        for job in jobs.json["jobs"]:
            if job.get("processID") == request.task.dataset:
                remote = self._connected().get_remote(job["jobID"])
                if remote.request == request.inputs:
                    return remote
        return None

    def attach(self, request: Request, server_id: str) -> Remote:
        """A request that was submitted before.

        Raises:
            Gone: the server does not know it, or not as a request of this account.
        """
        try:
            return self._call(
                lambda: self._connected().get_remote(server_id),
                f"{request.name}: looking for request {server_id}",
                request,
            )
        except KeyRefused as error:
            raise Gone("a request of another account") from error

    def wait(self, request: Request, remote: Remote, tell: Callable[[str], None]) -> Results:
        """Wait until a request is done, however long that takes.

        Args:
            request: for messages.
            remote: at the server.
            tell: is told the status at each look: ``accepted``, ``running``.

        Raises:
            Gone: it failed, was deleted or has expired.
            DownloadError: it was rejected, or the server no longer answers.
        """
        pause = self._poll_s * _FIRST_POLL
        while True:
            status = self._call(
                lambda: remote.status, f"{request.name}: looking at its request", request
            )
            if status == "successful":
                return self._call(remote.get_results, f"{request.name}: its result", request)
            if status not in ("accepted", "running"):
                reason = self._reason(remote)
                if status != "rejected":
                    raise Gone(f"the request {status} at the server: {reason}")
                raise DownloadError(
                    "the server rejected the request",
                    file=request.name,
                    found=reason,
                    next_step=SMALLER,
                )
            tell(status)
            self.patience.wait(pause)
            pause = min(pause * _POLL_GROWTH, self._poll_s)

    def _connected(self) -> Client:
        if self._client is None:
            with warnings.catch_warnings():
                # That its messages of the day cannot be read; what matters fails later, too.
                warnings.simplefilter("ignore", UserWarning)
                self._client = Client(
                    url=self._credentials.url,
                    key=self._credentials.key,
                    verify=self._credentials.verify,
                    timeout=self.timeout_s,
                    progress=False,
                    cleanup=False,
                    maximum_tries=1,
                    retry_after=0,
                    log_callback=_log,
                )
            self._client.session.verify = self._credentials.verify
        return self._client

    def _call(self, call: Callable[[], T], what: str, request: Request | None) -> T:
        """The answer to a call, made with patience; refusals in our words."""
        try:
            return self.patience.persist(call, what)
        except requests.HTTPError as error:
            self._refuse(error, what, request)
        except requests.RequestException as error:
            raise DownloadError(
                f"{what}: the address of the data store cannot be used",
                found=str(error),
                next_step=f"correct the url in {self._credentials.source} or download.url",
            ) from error

    def _refuse(self, error: requests.HTTPError, what: str, request: Request | None) -> NoReturn:
        status = 0 if error.response is None else error.response.status_code
        text = " ".join(str(error).split())
        if status in _GONE:
            raise Gone(text) from error
        too_large = "cost" in text.lower() or "too large" in text.lower()
        if status == 403 and "licence" in text.lower() and request is not None:
            page = re.search(r"https?://\S+", text.partition("licence")[2])
            default = f"{self._credentials.site}/datasets/{request.task.dataset}?tab=download"
            raise LicenceMissing(
                "the licence of the data set is not accepted",
                variable=request.task.dataset,
                found=f"{status} from {self._credentials.url}",
                next_step=f"sign in, accept the licence at "
                f"{page[0].rstrip('.,)') if page else default + '#manage-licences'}, and run the "
                "same command again",
            ) from error
        if status in (401, 403) and not too_large:
            raise KeyRefused(
                "the data store refuses the key",
                file=self._credentials.source,
                found=f"{status} from {self._credentials.url}",
                next_step=f"copy the personal access token from {self._credentials.site}/profile",
            ) from error
        raise DownloadError(
            f"{what}: the server does not take the request",
            found=text,
            next_step=SMALLER if too_large else None,
        ) from error

    def _reason(self, remote: Remote) -> str:
        """Why the server ended a request."""
        try:
            remote.get_results()
        except (requests.RequestException, ProcessingFailedError) as error:
            lines = [line for line in str(error).splitlines() if "for url" not in line]
            return " ".join(" ".join(lines).split())[:500] or "no reason given"
        return "no reason given"


def _log(level: int, message: object, *arguments: object, **_: object) -> None:
    """What the client and the server say, for the details of the log."""
    # At DEBUG the client logs whole answers: more than a log of many files should hold.
    if level > logging.DEBUG:
        log.debug(str(message), *arguments)

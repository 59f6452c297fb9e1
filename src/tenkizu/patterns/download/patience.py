"""Trying again: which errors pass, how long to wait, and how a wait is cut short."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
from ecmwf.datastores.processing import LinkError

from tenkizu.core.errors import DownloadError

log = logging.getLogger(__name__)

T = TypeVar("T")

_PASSING = (408, 425, 429)
_LONGEST_PAUSE_S = 3600.0
_BAD_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)


class Stopped(Exception):
    """The run is to end."""


@dataclass(frozen=True)
class Patience:
    """How often something is tried again, and after which pauses.

    Attributes:
        retries: new attempts after the first.
        pause_s: seconds before the first of them; each later pause is twice as long.
        stop: set when the run is to end.
    """

    retries: int
    pause_s: float
    stop: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        """Wait, unless the run is to end.

        Raises:
            Stopped: it is.
        """
        if self.stop.wait(seconds):
            raise Stopped

    def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait before new attempt number ``attempt``, counted from 0."""
        self.wait(min(max(self.pause_s * 2.0**attempt, at_least), _LONGEST_PAUSE_S))

    def persist(self, call: Callable[[], T], what: str) -> T:
        """The result of ``call``, which is made again while its errors may pass.

        Args:
            call: the attempt.
            what: names it in messages: ``submitting era5_msl_1991.nc``.

        Raises:
            DownloadError: none of the attempts went well.
            Stopped: the run is to end.
        """
        for attempt in range(self.retries + 1):
            self.wait(0.0)
            try:
                return call()
            except (requests.RequestException, LinkError, *_NO_ANSWER) as error:
                found = passing(error)
                if found is None:
                    raise
                reason, retry_after = found
                if attempt == self.retries:
                    raise DownloadError(
                        f"{what}: given up after {attempt + 1} attempts",
                        found=reason,
                        next_step="run the same command later: it goes on where it stopped",
                    ) from error
                log.info("%s: %s; trying again", what, reason)
                self.pause(attempt, retry_after)
        raise AssertionError  # the last attempt returns or raises


# What the client raises where an answer is not of the form that it expects.
_NO_ANSWER = (AssertionError, KeyError, TypeError, AttributeError, ValueError)


def passing(error: Exception) -> tuple[str, float] | None:
    """What went wrong and how many seconds the server asks to wait; None if it will not pass.

    Passing are 408, 425, 429 and all 5xx, broken or refused connections, silence, and answers that
    are not of the protocol, such as the page of a proxy.
    """
    if isinstance(error, requests.HTTPError) and error.response is not None:
        response = error.response
        if response.status_code not in _PASSING and response.status_code < 500:
            return None
        return f"{response.status_code} {response.reason}", _retry_after(response)
    if isinstance(error, _BAD_URL):
        return None
    if isinstance(error, requests.JSONDecodeError):
        return "an answer that is not of the data store", 0.0
    if isinstance(error, requests.Timeout):
        return "no answer in time", 0.0
    if isinstance(error, requests.RequestException):
        return f"the connection broke ({_innermost(error)})", 0.0
    return f"an answer that is not of the data store ({type(error).__name__})", 0.0


def _retry_after(response: requests.Response) -> float:
    """The header Retry-After in seconds, which may also hold a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _innermost(error: BaseException) -> str:
    """The first line of the error behind others, which says what happened to the connection."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

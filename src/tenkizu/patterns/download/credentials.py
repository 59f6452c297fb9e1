"""The account at the data store: where its address and key are found."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from tenkizu.core.errors import DownloadError

log = logging.getLogger(__name__)

CDS = "https://cds.climate.copernicus.eu/api"
"""Address of the Climate Data Store."""


@dataclass(frozen=True)
class Credentials:
    """An address and a key.

    Attributes:
        url: of the interface, such as ``https://cds.climate.copernicus.eu/api``.
        key: personal access token; it does not appear in messages.
        source: the file or variable that the key comes from.
        verify: whether the certificate of the server is checked.
    """

    url: str
    key: str = field(repr=False)
    source: str
    verify: bool = True

    @property
    def site(self) -> str:
        """Address of the store's pages."""
        return self.url.rstrip("/").removesuffix("/api")


@dataclass(frozen=True)
class _Place:
    """Variables and the file of a client, of which the variables count first."""

    url_variable: str
    key_variable: str
    file_variable: str
    file: str

    @property
    def path(self) -> Path:
        return Path(os.environ.get(self.file_variable, self.file)).expanduser()


_PLACES = (
    _Place(
        "ECMWF_DATASTORES_URL",
        "ECMWF_DATASTORES_KEY",
        "ECMWF_DATASTORES_RC_FILE",
        "~/.ecmwfdatastoresrc",
    ),
    _Place("CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC", "~/.cdsapirc"),
)


def find_credentials(url: str | None = None) -> Credentials:
    """The key of the data store, from the first place that has one.

    In this order: ``ECMWF_DATASTORES_KEY``, the file of ECMWF's client (``~/.ecmwfdatastoresrc``),
    ``CDSAPI_KEY``, ``~/.cdsapirc``. The address comes from the same variables and files, and so
    does ``verify: 0``, which switches off the check of the server's certificate, with a warning.

    Args:
        url: address that replaces theirs.

    Raises:
        DownloadError: none has a key, a file cannot be read, ``verify`` is neither 0 nor 1, or a
            key is of the store before 2024.
    """
    tried = []
    for place in _PLACES:
        entries, state = _read(place.path)
        key = os.environ.get(place.key_variable) or entries.get("key")
        if not key:
            tried += [f"${place.key_variable} (not set)", f"{place.path} ({state})"]
            continue
        in_file = not os.environ.get(place.key_variable)
        source = str(place.path) if in_file else f"${place.key_variable}"
        address = url or os.environ.get(place.url_variable) or entries.get("url") or CDS
        verify = _verify(entries.get("verify", "1"), place.path)
        credentials = Credentials(address.rstrip("/"), key, source, verify)
        _require_present_form(credentials)
        if not verify:
            log.warning(
                "%s says verify: 0, so the certificate of %s is not checked: whoever sits between "
                "can read the key and change the data",
                place.path,
                credentials.url,
            )
        return credentials
    site = Credentials(url or CDS, "", "").site
    raise DownloadError(
        "no credentials for the data store",
        found=", ".join(tried),
        expected="an address and a key in one of them",
        next_step=f"sign in at {site}/profile, copy the personal access token and write two lines "
        f"into ~/.cdsapirc:\n    url: {url or CDS}\n    key: YOUR-TOKEN",
    )


def _read(path: Path) -> tuple[dict[str, str], str]:
    """The entries ``name: value`` of a file, and in what state it is."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, "no such file"
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        return {}, f"cannot be read: {reason}"
    entries = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and not name.lstrip().startswith("#"):
            entries[name.strip()] = value.strip().strip("'\"")
    return entries, "no key in it"


def _verify(text: str, path: Path) -> bool:
    """What ``verify`` in a file means.

    Raises:
        DownloadError: neither yes nor no.
    """
    if text.lower() in ("0", "false", "no", "off"):
        return False
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    raise DownloadError(
        "neither yes nor no",
        file=path,
        variable="verify",
        found=text,
        expected="1, or 0 to leave the certificate of the server unchecked",
        next_step="take the line out. For a certificate of your own authority set the variable "
        "REQUESTS_CA_BUNDLE to its file",
    )


def _require_present_form(credentials: Credentials) -> None:
    """Raise for an address or key of the data store as it was before September 2024."""
    old_key = credentials.key.partition(":")[0].isdigit() and ":" in credentials.key
    if not old_key and not credentials.url.endswith("/v2"):
        return
    raise DownloadError(
        "credentials of the former data store",
        file=credentials.source,
        found="a key UID:KEY" if old_key else f"url {credentials.url}",
        expected=f"url {CDS} and a personal access token, which has no colon",
        next_step="sign in at "
        + Credentials(CDS, "", "").site
        + "/profile, copy the personal access token and replace both lines",
    )

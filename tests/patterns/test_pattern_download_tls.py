"""A data store whose certificate cannot be checked: refused, unless the account's file says so."""

import pytest
from cds_server_tls import with_tls
from download_runs import era5_config, store

from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.downloader import download


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """A store that speaks TLS, and the home folder of somebody who wants to use it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    with with_tls(store(), tmp_path) as server:
        yield server


def account(server, home, more=""):
    (home / ".cdsapirc").write_text(f"url: {server.url}\nkey: {server.key}\n{more}")


def test_a_certificate_is_checked(secure, tmp_path):
    account(secure, tmp_path)
    with pytest.raises(DownloadError, match="certificate verify failed"):
        download(era5_config(tmp_path, channels=["msl"], retries=0))
    assert secure.log == []  # no key was sent


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verify_0_leaves_it_unchecked_with_a_warning(secure, tmp_path, monkeypatch, caplog):
    account(secure, tmp_path, "verify: 0\n")
    # A variable that would count before the setting of a session.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / ".cdsapirc"))
    (path,) = download(era5_config(tmp_path, channels=["msl"], retries=0))
    assert path.is_file()
    assert "verify: 0, so the certificate" in caplog.text
    assert len(secure.calls("POST", "/execution")) == 1

"""Where the key of the data store is found, and what is said when it is not."""

import pytest

from tenkizu.core.errors import DownloadError
from tenkizu.patterns.download.credentials import CDS, find_credentials


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without any account."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for family in ("ECMWF_DATASTORES", "CDSAPI"):
        for name in ("URL", "KEY", "RC", "RC_FILE"):
            monkeypatch.delenv(f"{family}_{name}", raising=False)
    return tmp_path


def test_the_file_of_the_cds(home):
    (home / ".cdsapirc").write_text("url: https://cds.example.org/api\nkey: abc-123\n")
    found = find_credentials()
    assert (found.url, found.key) == ("https://cds.example.org/api", "abc-123")
    assert found.source == str(home / ".cdsapirc")
    assert found.site == "https://cds.example.org"


def test_quotes_spaces_comments_and_further_entries_do_no_harm(home):
    (home / ".cdsapirc").write_text("# mine\n url : 'https://x.org/api/'\nkey:  \"k\"\nmore: 0\n")
    found = find_credentials()
    assert (found.url, found.key, found.verify) == ("https://x.org/api", "k", True)


@pytest.mark.parametrize(("text", "verify"), [("0", False), ("False", False), ("1", True)])
def test_a_file_may_switch_the_check_of_certificates_off(text, verify, home, caplog):
    (home / ".cdsapirc").write_text(f"url: https://x.org/api\nkey: k\nverify: {text}\n")
    assert find_credentials().verify is verify
    warning = f"{home}/.cdsapirc says verify: 0, so the certificate of https://x.org/api is not"
    assert (warning in caplog.text) is not verify


def test_another_word_for_the_check_of_certificates_is_refused(home):
    (home / ".cdsapirc").write_text("key: k\nverify: /etc/ssl/mine.pem\n")
    with pytest.raises(DownloadError, match=r"verify: neither yes nor no; found /etc/ssl/mine\.p"):
        find_credentials()


def test_the_file_of_the_client_counts_before_it(home):
    (home / ".cdsapirc").write_text(f"url: {CDS}\nkey: second\n")
    (home / ".ecmwfdatastoresrc").write_text("url: https://first.org/api\nkey: first\n")
    assert find_credentials().key == "first"


def test_variables_count_before_their_file_and_the_address_has_a_default(home, monkeypatch):
    (home / ".cdsapirc").write_text("url: https://x.org/api\nkey: in-file\n")
    monkeypatch.setenv("CDSAPI_KEY", "in-variable")
    found = find_credentials()
    assert (found.url, found.key, found.source) == (
        "https://x.org/api",
        "in-variable",
        "$CDSAPI_KEY",
    )
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", "of-the-client")
    assert (find_credentials().url, find_credentials().key) == (CDS, "of-the-client")


def test_files_may_lie_elsewhere(home, monkeypatch):
    (home / "mine").write_text("key: k\n")
    monkeypatch.setenv("CDSAPI_RC", "~/mine")
    assert find_credentials().source == str(home / "mine")


def test_an_address_of_the_configuration_replaces_theirs(home):
    (home / ".cdsapirc").write_text("url: https://x.org/api\nkey: k\n")
    assert find_credentials("http://127.0.0.1:8000/api").url == "http://127.0.0.1:8000/api"


def test_without_any_all_places_are_listed_with_the_page_to_visit(home):
    (home / ".cdsapirc").write_text("url: https://x.org/api\n")
    with pytest.raises(DownloadError) as missing:
        find_credentials()
    text = str(missing.value)
    for place in ("$ECMWF_DATASTORES_KEY", "$CDSAPI_KEY", f"{home}/.ecmwfdatastoresrc (no such"):
        assert place in text
    assert f"{home}/.cdsapirc (no key in it)" in text
    assert "https://cds.climate.copernicus.eu/profile" in text
    assert missing.value.exit_code == 4


def test_a_file_that_is_no_text_is_said_to_be_so(home):
    (home / ".cdsapirc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DownloadError, match=r"\.cdsapirc \(cannot be read: not a text file\)"):
        find_credentials()


@pytest.mark.parametrize(
    "text",
    [
        "url: https://cds.climate.copernicus.eu/api/v2\nkey: new-token\n",
        "url: https://cds.climate.copernicus.eu/api\nkey: 12345:0f1e-ab\n",
    ],
)
def test_credentials_of_before_2024_are_recognised(home, text):
    (home / ".cdsapirc").write_text(text)
    with pytest.raises(DownloadError, match="of the former data store") as old:
        find_credentials()
    assert "0f1e" not in str(old.value)


def test_the_key_does_not_show(home):
    (home / ".cdsapirc").write_text("key: secret\n")
    assert "secret" not in repr(find_credentials())

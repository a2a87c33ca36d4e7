"""URLs of repositories: what is one, and that nothing secret is repeated."""

import pytest

from service.errors import ConfigurationError
from service.storage.address import Address, is_url


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/path/digits/", "digits"),
        ("s3://bucket", "model"),
        ("gs://bucket/x", "x"),
        ("az://container/x", "x"),
        ("abfss://container@account.dfs.core.windows.net/x", "x"),
        ("file:///models", "models"),
        ("http://127.0.0.1:8080/models", "models"),
    ],
)
def test_url_names_a_store_and_a_single_model(url: str, name: str) -> None:
    address = Address.parse(url)

    assert is_url(url)
    assert address.url == url.rstrip("/")
    assert address.model_name == name


@pytest.mark.parametrize("path", ["models", "/models", "./s3", "C:\\models"])
def test_directory_is_no_url(path: str) -> None:
    assert not is_url(path)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("ftp://host/models", id="another scheme"),
        pytest.param("s3:///models", id="no bucket"),
        pytest.param("s3://", id="nothing"),
        pytest.param("file://host/models", id="a file of another host"),
        pytest.param("s3://[bucket/x", id="not a URL"),
    ],
)
def test_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Expected s3://BUCKET/PREFIX"):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:topsecret@bucket/x",
        "https://user:topsecret@host/x",
        "abfss://container:topsecret@account.dfs.core.windows.net/x",
        "https://account.blob.core.windows.net/c/x?sv=2020&sig=topsecret",
        "https://host/x#topsecret",
    ],
)
def test_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="from the environment") as caught:
        Address.parse(url)

    assert "topsecret" not in str(caught.value)

"""The address of a repository in an object store: a URL, which says where it is and never who asks."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from service.errors import ConfigurationError, shown
from service.repository.layout import DEFAULT_MODEL_NAME, is_name

# Kinds of URL by scheme, as errors call them.
_KINDS: Final = {
    "s3": "S3",
    "gs": "Google Cloud Storage",
    "az": "Azure",
    "abfs": "Azure",
    "abfss": "Azure",
    "file": "file",
    "http": "HTTP",
    "https": "HTTP",
}
_EXPECTED: Final = "Expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, file:///DIRECTORY or https://HOST/PATH."
_NAMED_USERS: Final = ("abfs", "abfss")  # their container stands before an @


def is_url(repository: str) -> bool:
    """Say whether a repository is in an object store, and not a directory."""
    return "://" in repository


@dataclass(frozen=True, slots=True)
class Address:
    """A checked URL without a slash at its end. It holds no secret, so that it may be shown."""

    url: str
    scheme: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Check a URL. Raises ConfigurationError, which does not repeat what may be a secret."""
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(f"The repository is not a URL. {_EXPECTED}") from error
        if parts.scheme not in _KINDS:
            raise ConfigurationError(f"'{shown(parts.scheme)}://' is no kind of object store. {_EXPECTED}")
        if parts.query or parts.fragment or "?" in url or (parts.username is not None and parts.scheme not in _NAMED_USERS):
            raise ConfigurationError(
                f"A {parts.scheme}:// URL of a repository has no user, password, query or fragment. "
                "Credentials are read from the environment; see 'Repositories in object stores' in README.md."
            )
        if parts.password is not None:
            raise ConfigurationError("The URL of a repository has no password. Credentials are read from the environment.")
        if not _names_a_place(parts):
            raise ConfigurationError(f"'{shown(url)}' names no bucket. {_EXPECTED}")
        return cls(url.rstrip("/"), parts.scheme)

    @property
    def kind(self) -> str:
        """What sort of store it is, for people."""
        return _KINDS[self.scheme]

    @property
    def model_name(self) -> str:
        """The name of the model if the repository is a single one: the end of the path, where that can be a name."""
        last = urlsplit(self.url).path.rpartition("/")[2]
        return last if is_name(last) else DEFAULT_MODEL_NAME


def _names_a_place(parts: SplitResult) -> bool:
    if parts.scheme == "file":
        return not parts.netloc and parts.path.startswith("/")
    return bool(parts.hostname)

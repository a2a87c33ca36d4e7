"""From the setting `repository` to where the models come from: a directory, or a store that is mirrored into one."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.errors import ConfigurationError
from service.inference.private_files import private_directory
from service.repository.source import Directory, Source
from service.storage.address import Address, is_url
from service.storage.mirror import Mirror
from service.storage.store import require_library


def source_of(
    repository: str, *, model_name: str | None, cache_directory: Path | None, cache_limit: int, on_failure: Callable[[], None]
) -> Source:
    """Return the source of a repository. A store is not asked for anything yet.

    Raises like `require_usable`.
    """
    if not is_url(repository):
        return Directory(Path(repository))
    address, cache = require_usable(repository, cache_directory)
    return Mirror(address, cache, model_name=model_name, limit=cache_limit, on_failure=on_failure)


def require_usable(url: str, cache_directory: Path | None) -> tuple[Address, Path]:
    """Return what a URL is the address of, and where its models are kept.

    Raises ConfigurationError if it names no store, obstore is not there, or the cache directory cannot be used.
    """
    address = Address.parse(url)
    require_library()
    cache = cache_directory or Path("~/.cache/axon")
    with suppress(RuntimeError):  # a user without a home
        cache = cache.expanduser()
    if cache.parts[:1] == ("~",) or private_directory(cache) is None:
        raise ConfigurationError(
            f"The models of {address.url} cannot be kept in {cache}. "
            "Set cache_directory to a directory that only the server's user can write to."
        )
    return address, cache

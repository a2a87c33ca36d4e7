"""What a key can be allowed to do."""

from enum import StrEnum


class Scope(StrEnum):
    """A kind of call. A key has one or more; none of them includes another."""

    INFER = "infer"  # run a model
    READ = "read"  # metadata, configuration, statistics, the repository's index, the API description, metrics
    MANAGE = "manage"  # load and unload, and whatever is not known to be one of the others

"""The errors of the service, each with its HTTP status. One handler turns any of them into `{"error": ...}`.

AxonError
├── InvalidRequest 400          the request itself is at fault
│   ├── MalformedBody           not JSON, or not the protocol's shape
│   ├── ClientLeft              before all of it had come
│   ├── SignatureMismatch       a tensor does not fit the model's signature
│   └── InvalidName             a model or version name that cannot exist
├── Unauthenticated 401         no API key, or one that is not valid, with WWW-Authenticate
├── Forbidden 403                not allowed on this server
│   ├── PermissionDenied        not allowed for this API key
│   └── ModelControlOff         models are not loaded and unloaded by calls
├── NotFound 404
│   ├── ModelNotFound
│   ├── ModelUnloaded           it was taken down by a call
│   └── VersionNotFound
├── MethodNotAllowed 405
├── NotAcceptable 406           no form of answer that the client takes
├── PayloadTooLarge 413
├── DecodedTooLarge 413         a body that grows beyond the limit when it is decoded
├── UnsupportedEncoding 415
├── UnsupportedMediaType 415    a body of a kind that the server does not read
├── MisdirectedRequest 421      for a host that this server is not
├── RateLimited 429             over the API key's rate, with Retry-After
├── ModelFailed 500             onnxruntime refused to run valid input
├── NotImplementedByModel 501   a call that only models with another signature answer
├── Unavailable 503             with Retry-After
│   ├── ModelNotReady
│   ├── QueueFull
│   ├── Overloaded              as many bytes of requests are in memory as may be
│   └── ShuttingDown
├── DeadlineExceeded 504        the caller's time is over, or would be before the answer
├── NoWorkerStarts              every worker process ends before it has loaded
├── StoreError                  an object store cannot be reached, or refuses
│   ├── ObjectMissing           it has no such object
│   └── AlreadyStored           the object is there, and may not be replaced
├── ConfigurationError          settings, axon.toml or model.toml: stops the start, or the model
└── ModelLoadError              a version on disk that cannot be served
    └── PackageError            its files are missing, damaged or contradict each other
"""

from collections.abc import Iterable
from math import ceil
from typing import ClassVar, Self


class AxonError(Exception):
    """Base of all errors that Axon raises on purpose; `str()` is a full sentence fit for a client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    outcome: ClassVar[str] = "failed"  # of the request, as metrics count it: invalid, rejected, deadline, cancelled, failed

    @property
    def headers(self) -> dict[str, str]:
        """Extra response headers."""
        return {}

    @property
    def facts(self) -> dict[str, str]:
        """What a line of the log says of it as fields of its own."""
        return {"code": self.code}


class InvalidRequest(AxonError):
    """The request cannot be served as it was sent; sending it again changes nothing."""

    status = 400
    code = "invalid_request"
    outcome = "invalid"


class MalformedBody(InvalidRequest):
    """The body does not follow the protocol."""

    code = "malformed_body"


class ClientLeft(InvalidRequest):
    """The client closed the connection before the body was complete. It gets no answer."""

    outcome = "cancelled"

    def __init__(self) -> None:
        super().__init__("The client closed the connection before the body was complete.")


class SignatureMismatch(InvalidRequest):
    """A tensor does not fit the signature of the model."""

    code = "signature_mismatch"


class InvalidName(InvalidRequest):
    """A name that no model or version can have."""

    code = "invalid_name"


class Unauthenticated(AxonError):
    """The caller has not shown who it is. Says what is wrong with the key, and nothing about the keys that would be right."""

    status = 401
    code = "unauthenticated"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @classmethod
    def no_key(cls) -> Self:
        """Ask a caller who sent nothing."""
        return cls("This call needs an API key. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.", "no_key")

    @classmethod
    def unknown_key(cls) -> Self:
        """Refuse what was sent."""
        return cls("The API key is not valid here. Check that it is complete and has not been revoked.", "unknown_key")

    @classmethod
    def expired_key(cls, name: str) -> Self:
        """Say so to a caller whose key had been valid: its name is no secret to him."""
        return cls(f"The API key '{name}' has expired. Ask for a new one.", "expired_key")

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6750 3: how to authenticate, and whether what was sent was the problem."""
        problem = "" if self.reason == "no_key" else ', error="invalid_token"'
        return {"www-authenticate": f'Bearer realm="axon"{problem}'}


class Forbidden(AxonError):
    """The call exists, but this server does not allow it."""

    status = 403
    code = "forbidden"


class PermissionDenied(Forbidden):
    """The API key is valid, but not for this kind of call."""

    code = "permission_denied"
    reason: ClassVar[str] = "wrong_scope"

    def __init__(self, name: str, *, needed: str, has: Iterable[str]) -> None:
        super().__init__(f"The API key '{name}' lacks the scope '{needed}' that this call needs; it has {_listing(has)}.")
        self.needed = needed

    @property
    def headers(self) -> dict[str, str]:
        """RFC 6750 3.1: what the key lacks."""
        return {"www-authenticate": f'Bearer realm="axon", error="insufficient_scope", scope="{self.needed}"'}


class ModelControlOff(Forbidden):
    """The server loads and unloads models, but not when it is called."""

    code = "model_control_off"

    def __init__(self) -> None:
        super().__init__("Loading and unloading by calls is off. It needs --model-control explicit and, beyond loopback, API keys.")


class NotFound(AxonError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """The repository has no such model."""

    code = "model_not_found"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"Model '{shown(name)}' is not known. Known models: {_listing(known)}.")


class ModelUnloaded(NotFound):
    """The model was taken down by a call."""

    code = "model_unloaded"

    def __init__(self, name: str) -> None:
        super().__init__(f"Model '{name}' has been unloaded. Load it again by POST /v2/repository/models/{name}/load.")


class VersionNotFound(NotFound):
    """The model has no such version in service."""

    code = "version_not_found"

    def __init__(self, name: str, version: str, known: Iterable[int]) -> None:
        listing = _listing(str(number) for number in known)
        super().__init__(
            f"Model '{name}' has no version '{shown(version)}' in service. Versions in service: {listing}. "
            "Leave the version out to get the newest."
        )


def allow(methods: str) -> str:
    """Return the value of Allow for what may be done at an address: with GET goes HEAD, and OPTIONS with everything."""
    allowed = {*methods.split(", "), "OPTIONS"}
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))


class MethodNotAllowed(AxonError):
    """The address exists, but not for this HTTP method. Those that follow from the others are not named: HEAD and OPTIONS."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed on {shown(path)}. Use {allowed}.")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 15.5.6: a 405 names the allowed methods."""
        return {"allow": allow(self.allowed)}


class PayloadTooLarge(AxonError):
    """The body is larger than the server accepts."""

    status = 413
    code = "payload_too_large"
    outcome = "invalid"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit} bytes. Send fewer rows a request, or raise max_body_size.")


class DecodedTooLarge(AxonError):
    """What the body holds is larger than the server accepts, though the body is not."""

    status = 413
    code = "payload_too_large"
    outcome = "invalid"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body decodes to more than {limit} bytes. Send fewer rows or smaller pictures a request, "
            "or raise max_body_size."
        )


class NotAcceptable(AxonError):
    """The answer cannot be given in any form that the client takes."""

    status = 406
    code = "not_acceptable"
    outcome = "invalid"


class UnsupportedMediaType(AxonError):
    """The body is of a kind that the server does not read."""

    status = 415
    code = "unsupported_media_type"
    outcome = "invalid"


class NotImplementedByModel(AxonError):
    """The call exists, but the signature of this model has not what it needs."""

    status = 501
    code = "not_implemented"
    outcome = "invalid"


class UnsupportedEncoding(AxonError):
    """The body has a Content-Encoding that the server does not read."""

    status = 415
    code = "unsupported_encoding"
    outcome = "invalid"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding '{shown(encoding)}' is not supported. Send the body in gzip, in deflate, or unencoded.")

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 15.5.16: a 415 names the codings that would have been accepted."""
        return {"accept-encoding": "gzip, deflate"}


class MisdirectedRequest(AxonError):
    """The request is for another host."""

    status = 421
    code = "misdirected_request"

    def __init__(self, host: str) -> None:
        super().__init__(f"This server is not '{shown(host)}'. Call it by one of the names in its setting allowed_hosts.")


class RateLimited(AxonError):
    """The API key has spent what its rate allows."""

    status = 429
    code = "rate_limited"
    outcome = "rejected"
    reason: ClassVar[str] = "rate"

    def __init__(self, name: str, *, rate: float, burst: int, wait: float) -> None:
        super().__init__(
            f"The API key '{name}' may send {rate:g} requests a second here, {burst} at once. Try again in {wait:.3f} s."
        )
        self.wait = wait

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 10.2.3: when the next request will pass, in whole seconds."""
        return {"retry-after": str(ceil(self.wait))}


class ModelFailed(AxonError):
    """The model could not be run on input that fits its signature."""

    status = 500
    code = "model_failed"

    def __init__(self, name: str, version: int, reason: str) -> None:
        super().__init__(f"Model '{name}' version {version} failed to run: {reason}")
        self._facts = {"model": name, "version": str(version)}

    @property
    def facts(self) -> dict[str, str]:
        """What a line of the log says of it as fields of its own."""
        return super().facts | self._facts


class Unavailable(AxonError):
    """Not now; the same request may succeed later."""

    status = 503
    code = "unavailable"
    outcome = "rejected"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110 10.2.3: when to try again, in whole seconds."""
        return {"retry-after": str(self.retry_after)}


class ModelNotReady(Unavailable):
    """The model exists but cannot answer now."""

    code = "model_not_ready"

    def __init__(self, name: str, state: str, reason: str, *, version: str = "") -> None:
        because = f": {reason.rstrip('.')}" if reason else ""
        which = f"'{name}' version {version}" if version else f"'{name}'"
        super().__init__(f"Model {which} is not ready, its state is {state}{because}.")


class QueueFull(Unavailable):
    """The model's queue has no room for this request, or for its rows."""

    code = "queue_full"

    def __init__(self, name: str, limit: int, unit: str = "rows", *, retry_after: int) -> None:
        super().__init__(
            f"The queue of model '{name}' is full ({limit} {unit} waiting at most). Try again later, or raise max_queue_size.",
            retry_after=retry_after,
        )


class Overloaded(Unavailable):
    """The requests that are being answered take as much memory as they may."""

    code = "overloaded"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The bodies of the requests that are being answered fill what the server has for them, {limit} bytes. "
            "Try again later, or raise max_pending_bytes."
        )


class ShuttingDown(Unavailable):
    """The server or the model version is being taken down."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The server or this version of the model is being taken down. Try again.")


class DeadlineExceeded(AxonError):
    """The caller's deadline passed, or the queue and the time of a run leave no hope of keeping it."""

    status = 504
    code = "deadline_exceeded"
    outcome = "deadline"

    def __init__(self, name: str, *, timeout: float, needed: float | None = None) -> None:
        if needed is None:
            problem = f"did not answer within the {timeout * 1e3:.3g} ms that the request allowed"
        else:
            problem = f"needs at least {needed * 1e3:.3g} ms for what waits and this request, which allowed {timeout * 1e3:.3g} ms"
        super().__init__(f"Model '{name}' {problem}. Allow more time, or send fewer rows.")


class NoWorkerStarts(AxonError):
    """The worker processes end before they have loaded, again and again."""

    code = "no_worker_starts"

    def __init__(self, workers: int, starts: int) -> None:
        super().__init__(
            f"None of {workers} worker processes could load: each ended {starts} times in a row before it had. The log says how; "
            "if they were killed, they may need more memory than there is: start fewer workers."
        )


class ConfigurationError(AxonError):
    """A setting has an unknown key or a wrong value; the message names the place, the key and what was expected."""

    code = "configuration"


class StoreError(AxonError):
    """An object store did not do what was asked; the message names the place and the reason, and never a secret."""

    code = "store"


class ObjectMissing(StoreError):
    """There is no such object, or no such bucket."""


class AlreadyStored(StoreError):
    """An object that may only be created is there already."""


class ModelLoadError(AxonError):
    """A model version on disk cannot be served."""

    code = "model_load"


class PackageError(ModelLoadError):
    """A model package is incomplete, damaged or contradicts itself."""

    code = "package"


_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 100


def _listing(names: Iterable[str]) -> str:
    ordered = list(names)
    if not ordered:
        return "none"
    more = f" and {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
    return ", ".join(ordered[:_SHOWN_NAMES]) + more


def shown(text: str) -> str:
    """Client text as it may stand in an answer: printable, and not longer than a line."""
    if len(text) <= _SHOWN_CHARACTERS and text.isprintable():
        return text
    printable = "".join(character if character.isprintable() else "?" for character in text[: _SHOWN_CHARACTERS + 1])
    return printable if len(printable) <= _SHOWN_CHARACTERS else printable[:_SHOWN_CHARACTERS] + "..."

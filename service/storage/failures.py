"""What goes wrong with an object store, in one sentence: the library's errors have pages, with URLs that may be signed."""

import re
from typing import Final

from service.errors import AlreadyStored, ObjectMissing, StoreError, shown
from service.storage.address import Address

_STATUS: Final = re.compile(r"status code: (\d{3})([A-Za-z ]*)")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
_BAD_KEY: Final = re.compile(r'Path "([^"\n]*)"')
_URL: Final = re.compile(r"\S+://\S+")
# The services that give a machine its identity are asked last; what they say is that there is none.
_NO_CREDENTIALS: Final = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "MissingAccount")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_QUOTED: Final = re.compile(r"\"[^\"]*\"?")  # values of variables, which may be secrets
_LONGEST: Final = 200
PANIC: Final = "PanicException"  # what becomes of a mistake in the library; it is no Exception, so that few catch it
_REFUSED: Final = ("401", "403")
_NOT_IMPLEMENTED: Final = ("405", "501")

# What the library says where no store answers, and what that means; the first that is found.
_MEANINGS: Final = (
    ("UnableToCanonicalize", "there is no such directory"),
    ("dns error", "the store cannot be reached: its host name is not known. Check the endpoint"),
    ("ConnectionRefused", "the store cannot be reached: nothing listens there. Check the endpoint"),
    ("TimedOut", "the store cannot be reached: it does not answer in time. Check the endpoint and the network"),
    ("InvalidContentType", "the store cannot be reached: it does not speak TLS (https). Check the endpoint"),
    ("kind: Connect", "the store cannot be reached: no connection comes about. Check the endpoint and the network"),
    ("kind: Timeout", "the store cannot be reached: it does not answer in time. Check the endpoint and the network"),
)

CREDENTIALS: Final = {
    "S3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "Google Cloud Storage": "GOOGLE_APPLICATION_CREDENTIALS",
    "Azure": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_PLAIN_HTTP: Final = {"S3": "AWS_ALLOW_HTTP", "Google Cloud Storage": "GOOGLE_ALLOW_HTTP", "Azure": "AZURE_ALLOW_HTTP"}


def explained(error: BaseException, address: Address, action: str) -> StoreError:
    """Return the error to raise for one of the library's. `action` is what was tried, such as "list the repository"."""
    text = str(error)
    kind = type(error).__name__
    begin = f"Cannot {action} in {address.url}"
    if kind == "AlreadyExistsError":
        return AlreadyStored(f"{begin}: it is there already.")
    if isinstance(error, FileNotFoundError) and not any(word in text for word in _NO_BUCKET):
        return ObjectMissing(f"{begin}: there is no such object.")
    reason = _reason(error, text, kind, address)
    return (ObjectMissing if isinstance(error, FileNotFoundError) else StoreError)(f"{begin}: {reason}.")


def _reason(error: BaseException, text: str, kind: str, address: Address) -> str:
    status, words = match.groups() if (match := _STATUS.search(text)) else ("", "")
    code = f": {match[1]}" if (match := _CODE.search(text)) else ""
    answer = f"{status}{words.rstrip()}{code}" if status else kind
    credentials = CREDENTIALS.get(address.kind, "the credentials")
    if any(said in text for said in _NO_CREDENTIALS):
        return f"there are no credentials. Set {credentials}, or run where the platform gives an identity"
    if any(said in text for said in _NO_BUCKET):
        return f"there is no such bucket ({answer}). Check the URL and the region"
    if status in _REFUSED or kind in {"PermissionDeniedError", "UnauthenticatedError"}:
        return f"the store refuses the credentials ({answer}). Check {credentials}, and what they may do"
    if status in _NOT_IMPLEMENTED or isinstance(error, NotImplementedError):
        return f"the store cannot do that ({answer})"
    if "BadScheme" in text and (variable := _PLAIN_HTTP.get(address.kind)):
        return f"the endpoint is plain http, which is not encrypted. If that is meant, set {variable}=true"
    return f"the store answers {answer}" if status else _without_answer(text, kind)


def _without_answer(text: str, kind: str) -> str:
    if match := _CERTIFICATE.search(text):
        return f"its certificate is not trusted ({match[1]}). Install the authority's certificate on this machine"
    if meaning := next((meaning for said, meaning in _MEANINGS if said in text), ""):
        return meaning
    if kind == "InvalidPathError" and (match := _BAD_KEY.search(text)):
        return f"the key '{shown(match[1])}' is no path. Remove that object"
    if kind == PANIC:
        return "the library that reaches it gives up. Check the endpoint and the other variables of the store"
    first = next(iter(text.splitlines()), kind)
    return _QUOTED.sub("'...'", _URL.sub("...", first))[:_LONGEST].rstrip(". ")

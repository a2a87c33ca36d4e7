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
_METADATA_SERVICES: Final = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_LONGEST: Final = 200
_REFUSED: Final = ("401", "403")
_NOT_IMPLEMENTED: Final = ("405", "501")

# What the library says of a connection that fails, and what that means.
_CONNECTIONS: Final = (
    ("dns error", "its host name is not known. Check the endpoint"),
    ("ConnectionRefused", "nothing listens there. Check the endpoint"),
    ("TimedOut", "it does not answer in time. Check the endpoint and the network"),
    ("InvalidContentType", "it does not speak TLS (https). Check the endpoint"),
    ("kind: Connect", "no connection comes about. Check the endpoint and the network"),
    ("kind: Timeout", "it does not answer in time. Check the endpoint and the network"),
)

CREDENTIALS: Final = {
    "S3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "Google Cloud Storage": "GOOGLE_APPLICATION_CREDENTIALS",
    "Azure": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def explained(error: Exception, address: Address, action: str) -> StoreError:
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


def _reason(error: Exception, text: str, kind: str, address: Address) -> str:
    status, words = match.groups() if (match := _STATUS.search(text)) else ("", "")
    code = f": {match[1]}" if (match := _CODE.search(text)) else ""
    answer = f"{status}{words.rstrip()}{code}"
    credentials = CREDENTIALS.get(address.kind, "the credentials")
    if any(service in text for service in _METADATA_SERVICES) or "MissingAccount" in text:
        return f"there are no credentials. Set {credentials}, or run where the platform gives an identity"
    if any(word in text for word in _NO_BUCKET):
        return f"there is no such bucket ({answer}). Check the URL and the region" if answer else "there is no such bucket"
    if status in _REFUSED or kind in {"PermissionDeniedError", "UnauthenticatedError"}:
        return f"the store refuses the credentials ({answer or 'permission denied'}). Check {credentials}, and what they may do"
    if isinstance(error, NotImplementedError) or status in _NOT_IMPLEMENTED:
        return f"the store cannot do that ({answer or 'not implemented'})"
    if status:
        return f"the store answers {answer}"
    return _without_answer(text, kind)


def _without_answer(text: str, kind: str) -> str:
    if "BadScheme" in text:
        return "the endpoint is plain http, which is not encrypted. If that is meant, set AWS_ALLOW_HTTP=true"
    if match := _CERTIFICATE.search(text):
        return f"its certificate is not trusted ({match[1]}). Install the authority's certificate on this machine"
    for said, meaning in _CONNECTIONS:
        if said in text:
            return f"the store cannot be reached: {meaning}"
    if kind == "InvalidPathError" and (match := _BAD_KEY.search(text)):
        return f"the key '{shown(match[1])}' is no path. Remove that object"
    if "UnableToCanonicalize" in text:
        return "there is no such directory"
    first = next(iter(text.splitlines()), kind)
    return shown(_URL.sub("...", first)[:_LONGEST]).rstrip(".")

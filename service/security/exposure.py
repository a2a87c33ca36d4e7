"""What an address means for who can call: said aloud at the start, and the reason why models cannot be changed from there."""

from collections.abc import Iterator
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Say whether only this machine can connect; a name other than `localhost` is taken for one that others can reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def warnings(host: str, *, keys: bool, tls: bool, client_certificates: bool) -> Iterator[str]:
    """Say what stands open at this address."""
    if is_loopback(host):
        return
    if not keys and not client_certificates:
        yield (
            f"EVERYONE who can reach {host} can run the models and read their metadata: there are no API keys. "
            "Make one with `axon keys create` and set api_keys, or listen on 127.0.0.1."
        )
    if keys and not tls:
        yield "API keys cross the network in the clear unless a proxy in front speaks TLS. Set tls_certificate and tls_key."


def refusal_of_management(host: str, *, keys: bool) -> str | None:
    """Return why load and unload calls are refused if nobody can be told from anybody else, else None."""
    if keys or is_loopback(host):
        return None
    return (
        "Loading and unloading by calls needs API keys on a server that others can reach: "
        "make a key with `axon keys create NAME --scopes manage` and set api_keys."
    )

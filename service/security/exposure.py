"""What an address means for who can call: said aloud at the start, and whether models may be changed from there."""

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
            "Make one with `axon keys create` and set api_keys, or listen on 127.0.0.1. Until then nobody can load and unload."
        )
    if keys and not tls:
        yield "API keys cross the network in the clear unless a proxy in front speaks TLS. Set tls_certificate and tls_key."


def may_be_managed(host: str, *, keys: bool) -> bool:
    """Say whether models may be loaded and unloaded by calls: not where nobody can be told from anybody else."""
    return keys or is_loopback(host)

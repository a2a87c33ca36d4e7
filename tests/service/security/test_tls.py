"""TLS: what the files must be, who can connect, and that renewed files are taken up."""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from service.errors import ConfigurationError
from service.security.tls import CertificateFiles

DEADLINE = 30


@pytest.fixture
def placed(tmp_path: Path, server_certificate: Any) -> CertificateFiles:
    """Copy a certificate and its key to where a test may change them."""
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    shutil.copy(server_certificate.certificate, files.certificate)
    shutil.copy(server_certificate.key, files.key)
    return files


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two workers"])
def tls_server(
    running: Callable[..., AbstractContextManager[Any]],
    repository: Path,
    server_certificate: Any,
    authority: Any,
    request: pytest.FixtureRequest,
) -> Iterator[Any]:
    """Run a server that speaks TLS."""
    options = ("--tls-certificate", str(server_certificate.certificate), "--tls-key", str(server_certificate.key))
    with running(repository, "--log-level", "debug", "--workers", request.param, *options) as server:
        server.http.verify = str(authority.own.certificate)
        yield server


@pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "two workers"])
def test_client_that_never_begins_tls_does_not_hold_up_the_end(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, server_certificate: Any, workers: str
) -> None:
    options = ("--tls-certificate", str(server_certificate.certificate), "--tls-key", str(server_certificate.key))
    with (
        running(repository, "--workers", workers, *options) as server,
        closing(socket.create_connection(server.address, timeout=DEADLINE)),
        closing(socket.create_connection(server.address, timeout=DEADLINE)),
    ):
        server.wait_for("workers ready" if workers == "2" else "models ready")
        began = time.monotonic()

        assert server.stop() == 0
        assert time.monotonic() - began < 15
        assert "killed" not in server.log
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def mutual_server(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, server_certificate: Any, authority: Any
) -> Iterator[Any]:
    """Run a server that wants a certificate of its clients."""
    environ = {
        "AXON_TLS_CERTIFICATE": str(server_certificate.certificate),
        "AXON_TLS_KEY": str(server_certificate.key),
        "AXON_TLS_CLIENT_CA": str(authority.own.certificate),
    }
    with running(repository, **environ) as server:
        server.http.verify = str(authority.own.certificate)
        yield server


def peer_name(address: tuple[str, int], authority: Any) -> str:
    """Return the name in the certificate that a server shows."""
    context = ssl.create_default_context(cafile=authority.own.certificate)
    with (
        socket.create_connection(address, timeout=DEADLINE) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        shown = wrapped.getpeercert()
        assert shown is not None
        return str(dict(entry[0] for entry in shown["subject"])["commonName"])  # type: ignore[misc, index]


def test_clients_that_trust_the_authority_are_served(tls_server: Any, authority: Any, good_request: Any) -> None:
    trust = ssl.create_default_context(cafile=authority.own.certificate)
    with httpx.Client(verify=trust, trust_env=False) as client:
        assert client.get(tls_server.url + "/v2").json()["name"] == "axon"
    assert tls_server.url.startswith("https://")
    assert tls_server.infer("affine", good_request).status_code == 200


def test_clients_that_do_not_trust_it_leave(tls_server: Any, other_authority: Any) -> None:
    with pytest.raises(requests.exceptions.SSLError, match="certificate verify failed"):
        requests.get(tls_server.url + "/v2", verify=str(other_authority.own.certificate), timeout=DEADLINE)


@pytest.mark.parametrize(
    ("newest", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
    ids=["1.1", "1.2", "1.3"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_versions_before_tls_1_2_are_refused(tls_server: Any, authority: Any, newest: ssl.TLSVersion, accepted: bool) -> None:  # noqa: FBT001
    context = ssl.create_default_context(cafile=authority.own.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this end would refuse by itself
    context.minimum_version = context.maximum_version = newest
    with closing(socket.create_connection(tls_server.address, timeout=DEADLINE)) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="127.0.0.1"):
                outcome = "connected"
        except ssl.SSLError as error:
            outcome = str(error.reason)

    refusals = {"UNEXPECTED_EOF_WHILE_READING", "TLSV1_ALERT_PROTOCOL_VERSION"}  # the other end's, with or without a last word
    assert outcome in ({"connected"} if accepted else refusals)


def test_plain_http_on_a_tls_port_is_cut_off_and_harms_nobody(tls_server: Any) -> None:
    for sent in (b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"\x16\x03\x01\xff\xff", b"\x00" * 100):
        with closing(socket.create_connection(tls_server.address, timeout=DEADLINE)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert b"HTTP" not in answer

    assert tls_server.get("/v2/health/live").status_code == 200
    assert "Traceback" not in tls_server.log


def test_client_with_a_certificate_of_the_authority_is_served(mutual_server: Any, authority: Any, good_request: Any) -> None:
    client = authority.issue("client")

    assert mutual_server.infer("affine", good_request, cert=client.pair).status_code == 200


@pytest.mark.parametrize("shows", ["none", "a stranger's"])
def test_client_without_one_is_cut_off(mutual_server: Any, authority: Any, other_authority: Any, shows: str) -> None:
    pair = None if shows == "none" else other_authority.issue("stranger").pair
    with pytest.raises(requests.exceptions.ConnectionError), requests.Session() as session:
        session.get(mutual_server.url + "/v2", verify=str(authority.own.certificate), cert=pair, timeout=DEADLINE)

    assert (
        mutual_server.http.get(mutual_server.url + "/v2", cert=authority.issue("known").pair, timeout=DEADLINE).status_code == 200
    )


def test_renewed_certificate_is_shown_without_a_restart(
    running: Callable[..., AbstractContextManager[Any]], repository: Path, placed: CertificateFiles, authority: Any
) -> None:
    environ = {"AXON_TLS_CERTIFICATE": str(placed.certificate), "AXON_TLS_KEY": str(placed.key)}
    with running(repository, **environ) as server:
        first = peer_name(server.address, authority)
        renewed = authority.issue("renewed")
        shutil.copy(renewed.certificate, placed.certificate)  # the new certificate beside the old key, for a moment
        between = peer_name(server.address, authority)
        server.wait_for("is not the key of tls_certificate .* stays in use")
        shutil.copy(renewed.key, placed.key)
        last = peer_name(server.address, authority)
        placed.key.unlink()
        without = peer_name(server.address, authority)

    assert (first, between) == ("authority-server", "authority-server")
    assert (last, without) == ("authority-renewed", "authority-renewed")


def test_renewed_authority_shuts_out_the_clients_of_the_old_one(
    running: Callable[..., AbstractContextManager[Any]],
    repository: Path,
    placed: CertificateFiles,
    tmp_path: Path,
    authority: Any,
    other_authority: Any,
) -> None:
    trusted = tmp_path / "clients.crt"
    shutil.copy(authority.own.certificate, trusted)
    environ = {
        "AXON_TLS_CERTIFICATE": str(placed.certificate),
        "AXON_TLS_KEY": str(placed.key),
        "AXON_TLS_CLIENT_CA": str(trusted),
    }
    with running(repository, **environ) as server:

        def connects(pair: tuple[str, str]) -> bool:
            try:
                return requests.get(server.url + "/v2", verify=str(authority.own.certificate), cert=pair, timeout=DEADLINE).ok
            except requests.exceptions.ConnectionError:
                return False

        old, new = authority.issue("old").pair, other_authority.issue("new").pair
        before = (connects(old), connects(new))
        shutil.copy(other_authority.own.certificate, trusted)
        after = (connects(old), connects(new))

    assert (before, after) == ((True, False), (False, True))


def test_parts_of_tls_are_refused(placed: CertificateFiles) -> None:
    assert CertificateFiles.of(None, None, None) is None
    for parts in ((placed.certificate, None, None), (None, placed.key, None), (None, None, placed.certificate)):
        with pytest.raises(ConfigurationError, match="tls_certificate and tls_key"):
            CertificateFiles.of(*parts)


def _encrypt(files: CertificateFiles, _other: Any) -> None:
    files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda files, _: files.certificate.unlink(), r"Cannot read .*tls\.crt", id="no certificate"),
        pytest.param(lambda files, _: files.key.unlink(), r"Cannot read .*tls\.key for TLS: No such file", id="no key"),
        pytest.param(lambda files, _: files.key.write_text("no key"), r"tls\.key is no private key", id="key of no kind"),
        pytest.param(
            lambda files, _: files.certificate.write_text("no"), r"tls\.crt holds no certificate", id="certificate of no kind"
        ),
        pytest.param(lambda files, other: shutil.copy(other, files.key), r"tls\.key is not the key of", id="the key of another"),
        pytest.param(lambda files, _: shutil.copy(files.key, files.certificate), r"tls\.crt holds no certificate", id="swapped"),
        pytest.param(_encrypt, r"tls\.key is (encrypted|no private key)", id="encrypted key"),
    ],
)
def test_unusable_files_are_named(placed: CertificateFiles, other_authority: Any, damage: Callable[..., Any], problem: str) -> None:
    damage(placed, other_authority.own.key)

    with pytest.raises(ConfigurationError, match=problem):
        placed.context()


def test_client_authority_must_hold_a_certificate(placed: CertificateFiles, tmp_path: Path) -> None:
    empty = tmp_path / "empty.crt"
    empty.write_text("")
    files = CertificateFiles(placed.certificate, placed.key, empty)

    with pytest.raises(ConfigurationError, match=r"tls_client_ca .*empty\.crt holds no certificate"):
        files.context()


def test_server_does_not_start_with_unusable_files(
    launched: Callable[..., AbstractContextManager[Any]], repository: Path, placed: CertificateFiles, other_authority: Any
) -> None:
    environ = {"AXON_TLS_CERTIFICATE": str(placed.certificate), "AXON_TLS_KEY": str(other_authority.own.key)}
    with launched(repository, **environ) as server:
        assert server.ended() == 1
        assert "axon: tls_key" in server.log
        assert "is not the key of tls_certificate" in server.log

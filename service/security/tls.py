"""TLS by files: a certificate, its key, and optionally the authority whose clients alone may connect.

The files are looked at again for every new connection, so a renewed certificate is used without a restart; connections that
are open keep what they began with.
"""

import logging
import ssl
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from service.errors import ConfigurationError
from service.security.stamp import Stamp, stamp

logger = logging.getLogger("axon.security")


class CertificateFiles(msgspec.Struct, frozen=True):
    """The files, in PEM. `certificate` holds the chain, the server's own first; with `client_ca` a client needs a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None, client_ca: Path | None) -> "CertificateFiles | None":
        """Put the settings together: all of TLS or nothing. Raises ConfigurationError for a part of it."""
        if certificate is not None and key is not None:
            return cls(certificate, key, client_ca)
        if certificate is None and key is None and client_ca is None:
            return None
        raise ConfigurationError(
            "TLS needs both tls_certificate and tls_key; tls_client_ca comes on top. Set the one that is missing."
        )

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """What changes when one of the files does."""
        return stamp(self.certificate), stamp(self.key), stamp(self.client_ca) if self.client_ca else None

    def context(self) -> ssl.SSLContext:
        """Load the files for a server that speaks TLS 1.2 and later. Raises ConfigurationError, which names the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for path in (self.certificate, self.key, *([self.client_ca] if self.client_ca else [])):
            _readable(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_password)
        except ssl.SSLError as error:
            raise ConfigurationError(self._problem(error)) from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise ConfigurationError(f"tls_client_ca {self.client_ca} holds no certificate in PEM.") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _problem(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"tls_key {self.key} is not the key of tls_certificate {self.certificate}. Give the two that were made together."
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self.certificate)
        except ssl.SSLError:
            return f"tls_certificate {self.certificate} holds no certificate in PEM."
        return f"tls_key {self.key} is no private key in PEM that fits tls_certificate {self.certificate}."

    def _refuse_password(self) -> NoReturn:
        """OpenSSL would ask at the terminal, where nobody sits."""
        raise ConfigurationError(f"tls_key {self.key} is encrypted. Give a key without a password, readable by the server alone.")


class RenewingContext(ssl.SSLContext):
    """Stands for the newest context that the files give; asyncio and uvloop ask it for each connection."""

    _files: CertificateFiles
    _stamps: tuple[Stamp, ...]
    _newest: ssl.SSLContext

    @classmethod
    def of(cls, files: CertificateFiles) -> "RenewingContext":
        """Begin with the files as they are, or raise ConfigurationError; later, unusable files leave the certificate as it was."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._files = files
        context._stamps = files.stamps
        context._newest = files.context()
        return context

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 -- passed on as they are
        """Begin a connection."""
        if (found := self._files.stamps) != self._stamps:
            self._stamps = found
            self._renew()
        return self._newest.wrap_bio(*args, **kwargs)

    def _renew(self) -> None:
        """Take the new files, all of them or none: they may be written one after the other."""
        try:
            self._newest = self._files.context()
        except ConfigurationError as error:
            logger.error("%s The certificate read before stays in use.", error)  # noqa: TRY400 -- the message says it all
        else:
            logger.info("The certificate was renewed from %s", self._files.certificate)


def _readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path} for TLS: {error.strerror}.") from error

"""TLS for gRPC, from the same files as for HTTP: looked at again for every new connection."""

import logging

import grpc

from service.errors import ConfigurationError
from service.security.tls import CertificateFiles

logger = logging.getLogger("axon.security")


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Return credentials that follow the files. Raises ConfigurationError if they cannot be used as they are."""
    seen = files.stamps
    files.context()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificate, or None to stay with the one before."""
        nonlocal seen
        if (found := files.stamps) == seen:
            return None
        seen = found
        try:
            files.context()  # which names what is wrong
            return _configuration(files)
        except (ConfigurationError, OSError) as error:
            logger.error("%s The certificate read before stays in use for gRPC.", error)  # noqa: TRY400 -- the message says it all
            return None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files), renewed, require_client_authentication=files.client_ca is not None
    )


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair], files.client_ca.read_bytes() if files.client_ca else None)

"""Why a connection did not come about: gRPC hides what TLS says, so Python's ssl does the handshake once more."""

import socket
import ssl
from collections.abc import Mapping
from typing import Final

from shoal_server.cli.credentials import Credentials
from shoal_server.config import socket_path, split_address

_WITHIN_S: Final = 3.0

# X509_V_ERR_* of OpenSSL (x509_vfy.h).
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_NO_ISSUER: Final = frozenset({2, 18, 19, 20, 21})

# Alerts of a server that says why, in the names of ssl.SSLError.reason; gRPC's core closes without one.
_ALERTS: Final[Mapping[str, str]] = {
    "CERTIFICATE_REQUIRED": "it asks for a client certificate",
    "CERTIFICATE_EXPIRED": "your certificate has expired",
    "UNKNOWN_CA": "your certificate is of a CA that it does not know",
    "BAD_CERTIFICATE": "it does not accept your certificate",
    "CERTIFICATE_UNKNOWN": "it does not accept your certificate",
    "CERTIFICATE_REVOKED": "your certificate is revoked",
    "PROTOCOL_VERSION": "it speaks other versions of TLS",
}
_FLAGS: Final = "--tls-certificate FILE and --tls-key FILE"


def explained(address: str, credentials: Credentials | None) -> str:
    """Return what is wrong between this side and the server at ``address``, a sentence; empty where nobody is there."""
    path = socket_path(address)
    host = "localhost" if path is not None else split_address(address)[0].strip("[]")
    try:
        with _connected(address, path) as connection:
            connection.settimeout(_WITHIN_S)
            if credentials is None:
                return _asks_for_tls(connection, address)
            return _refused(connection, host, address, credentials)
    except OSError:
        return ""


def _connected(address: str, path: str | None) -> socket.socket:
    if path is None:
        host, port = split_address(address)
        return socket.create_connection((host.strip("[]"), port), _WITHIN_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_WITHIN_S)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _asks_for_tls(connection: socket.socket, address: str) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent or believed; all that is asked is whether it speaks TLS
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(connection):
            pass
    except (ssl.SSLEOFError, ConnectionError, TimeoutError):
        return ""
    except ssl.SSLError as error:
        if _alert(error):
            return f"the server at {address} speaks TLS: say whom to trust by --tls-ca FILE, or client.ca in shoal.toml"
        return ""
    return f"the server at {address} speaks TLS: say whom to trust by --tls-ca FILE, or client.ca in shoal.toml"


def _refused(connection: socket.socket, host: str, address: str, credentials: Credentials) -> str:
    context = ssl.create_default_context(cafile=credentials.ca)
    context.set_alpn_protocols(["h2"])
    if credentials.certificate is not None:
        context.load_cert_chain(credentials.certificate, credentials.key)
    name = credentials.server_name or host
    try:
        with context.wrap_socket(connection, server_hostname=name) as secure:
            # In TLS 1.3 a client is done before the server has looked at its certificate.
            if secure.recv(1):
                return ""
    except ssl.SSLCertVerificationError as error:
        return _distrusted(error, name, address, credentials)
    except (ssl.SSLEOFError, ConnectionError):
        pass
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return f"the server at {address} serves without TLS; leave the --tls flags and client settings out"
        said = _alert(error)
        return f"the server at {address} ends the handshake: {said or error.reason or error}"
    if credentials.certificate is None:
        return f"the server at {address} ends the handshake: it asks for a client certificate: give {_FLAGS}"
    return (
        f"the server at {address} ends the handshake: it does not accept the certificate in {credentials.certificate}, "
        "which may be of a CA that it does not know"
    )


def _distrusted(error: ssl.SSLCertVerificationError, name: str, address: str, credentials: Credentials) -> str:
    at = f"the certificate of the server at {address}"
    if error.verify_code == _EXPIRED:
        return f"{at} has expired (or the clock here is wrong)"
    if error.verify_code == _NOT_YET:
        return f"{at} is not valid yet (or the clock here is wrong)"
    if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"{at} is not for {name}; --tls-server-name NAME says which name it has"
    if error.verify_code in _NO_ISSUER:
        trusted = credentials.ca or "this machine's list"
        return f"{at} is of a CA that is not in {trusted}; --tls-ca FILE names another"
    return f"{at} cannot be trusted: {error.verify_message}"


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    return next((text for name, text in _ALERTS.items() if reason.endswith(name)), "") if "ALERT" in reason else ""

"""A fake of Cloud SQL for its connector: the Admin API over HTTP, and the TLS proxy of the instance.

The proxy accepts only clients with a certificate that the API signed, and forwards the stream to the real
PostgreSQL. Cloud SQL checks the token of a login; here the server trusts all, and the API records the tokens.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import credentials

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES = 65536


class Credentials(credentials.Credentials, credentials.Scoped):
    """Tokens that consist of their scopes."""

    def __init__(self, scopes: Any = None) -> None:
        super().__init__()
        self._scopes = scopes

    @property
    def requires_scopes(self) -> bool:
        return not self._scopes

    def with_scopes(self, scopes: Any, default_scopes: Any = None) -> Credentials:
        return Credentials(scopes)

    def refresh(self, request: object) -> None:
        self.token = " ".join(each.rpartition("/")[2] for each in self._scopes)
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)


@dataclass
class Authority:
    """The certificate authority of the instance."""

    key: Any = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def __post_init__(self) -> None:
        self.certificate = self.sign(self.key.public_key(), is_authority=True)

    def sign(
        self, key: Any, *, is_authority: bool = False, lives: timedelta = timedelta(hours=1)
    ) -> Any:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "instance authority")])
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "project:instance")])
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name if is_authority else own)
            .issuer_name(name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + lives)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


def pem(certificate: Any) -> str:
    text: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return text.decode()


class CloudSql:
    """An instance `project:region:instance` in front of a PostgreSQL on a local port.

    Attributes:
        logins: the access tokens in the requests for certificates.
        refusal: an HTTP status that the API answers instead.
        certificate_lives: the lifetime of a client's certificate.
    """

    def __init__(self, folder: Path, postgres_port: int) -> None:
        self.logins: list[str] = []
        self.refusal = 0
        self.certificate_lives = timedelta(hours=1)
        self.authority = Authority()
        self._postgres_port = postgres_port
        self._context = self._make_context(folder)
        self._proxy = socket.create_server(("127.0.0.1", 0))
        self.proxy_port = int(self._proxy.getsockname()[1])
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.api_port = int(self._api.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._api.shutdown()
        self._api.server_close()
        self._proxy.close()

    def _make_context(self, folder: Path) -> ssl.SSLContext:
        key = rsa.generate_private_key(65537, 2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        both = folder / "server.pem"
        both.write_text(private.decode() + pem(self.authority.sign(key.public_key())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(both)
        context.load_verify_locations(cadata=pem(self.authority.certificate))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._proxy.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            self._context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", self._postgres_port)) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, secure), daemon=True)
            back.start()
            _copy(secure, server)
            back.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        instance = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(instance._settings())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path.endswith(
                    "/projects/project/instances/instance:generateEphemeralCert"
                )
                self._answer({} if instance.refusal else instance._certificate(body))

            def _answer(self, document: object) -> None:
                data = json.dumps(document).encode()
                self.send_response(instance.refusal or 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _settings(self) -> dict[str, Any]:
        return {
            "region": "region",
            "databaseVersion": "POSTGRES_18",
            "ipAddresses": [{"type": "PRIVATE", "ipAddress": "127.0.0.1"}],
            "serverCaCert": {"cert": pem(self.authority.certificate)},
        }

    def _certificate(self, body: dict[str, str]) -> dict[str, Any]:
        self.logins.append(body["access_token"])
        key = serialization.load_pem_public_key(body["public_key"].encode())
        return {
            "ephemeralCert": {"cert": pem(self.authority.sign(key, lives=self.certificate_lives))}
        }


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BLOCK_BYTES):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)

"""The server's own certificate, for when no load balancer brings one.

Key and certificate are derived from the stream token, which all instances of a deployment share: so
every instance shows the same certificate, and a client that pins its fingerprint moves from one
instance to the next, or to a replaced one, without asking anybody. Whoever knows the token could
stand in for the server, and whoever sees the certificate could try guesses of the token offline;
hence a token must be long and random (Secrets Manager makes it), and a short one is refused.
"""

from __future__ import annotations

import datetime
import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.streaming.errors import SettingsError

SHORTEST_TOKEN = 24
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NOT_BEFORE = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(2054, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM of certificate and key, and the SHA-256 of the certificate's DER bytes in hex."""

    certificate: bytes
    key: bytes
    fingerprint: str

    @classmethod
    def from_token(cls, token: str) -> Certificate:
        """Raises SettingsError for a token that could be guessed from the certificate."""
        if len(token) < SHORTEST_TOKEN:
            raise SettingsError(
                f"The stream token has {len(token)} characters; a self-signed certificate wants "
                f"one of at least {SHORTEST_TOKEN} random ones."
            )
        seed = HKDF(
            hashes.SHA256(), length=48, salt=None, info=b"visionstack stream certificate 1"
        ).derive(token.encode())
        # 48 bytes for a 32-byte range: the remainder's bias is below 2^-128 (FIPS 186-5, A.2.1).
        secret = int.from_bytes(seed, "big") % (_P256_ORDER - 1) + 1
        key = ec.derive_private_key(secret, ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visionstack stream server")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(hashlib.sha256(seed).digest()[:16], "big") | 1)
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("visionstack.internal")]), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return cls(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            certificate.fingerprint(hashes.SHA256()).hex(),
        )

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # `ssl` takes files only; this one is readable by its owner and gone at once.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            path.touch(mode=0o600)
            path.write_bytes(self.key + self.certificate)
            context.load_cert_chain(path)
        return context

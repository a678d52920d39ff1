"""An authority of its own, and what it certifies: servers on this machine, and clients."""

import datetime
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority"]

_HOST = "127.0.0.1"
_LASTS = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs; `file` is what others are told to trust (PEM)."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> "Authority":
        """A new one, with its certificate in the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, issuer=name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = folder / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(key, certificate, file)

    def certify(self, name: str) -> Path:
        """A file with key and certificate of somebody on this machine (PEM, the key as PKCS #8)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, issuer=_name_of(self.certificate))
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_HOST))]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file = self.file.with_name(f"{name}.pem")
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        return file


def _builder(name: str, *, issuer: str) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LASTS)
        .not_valid_after(now + _LASTS)
    )


def _name_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests: an authority, and leaves with any names and dates."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


class Cert(NamedTuple):
    """Paths of a certificate and its key."""

    cert: str
    key: str


class CA:
    """A certificate authority that lives in a directory."""

    def __init__(self, directory: Path, name: str = "test-ca") -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.issued = 0
        builder = self._builder(self.name, self.private, NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0),
                                        critical=True)
        builder = builder.add_extension(usage(sign_certificates=True), critical=True)
        self.path = self._write(f"{name}.crt", builder.sign(self.private, hashes.SHA256())
                                .public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, private: ec.EllipticCurvePrivateKey,
                 begin: datetime.datetime, end: datetime.datetime) -> x509.CertificateBuilder:
        public, authority = private.public_key(), self.private.public_key()
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(begin).not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority),
                           critical=False))

    def _write(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(0o600)
        return str(path)

    def issue(self, common_name: str = "leaf", dns: Sequence[str] = (), ips: Sequence[str] = (),
              uris: Sequence[str] = (), expired: bool = False) -> Cert:
        """A certificate for servers and clients alike."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        end = NOW - datetime.timedelta(hours=1) if expired else NOW + 10 * DAY
        builder = self._builder(subject, private, NOW - 2 * DAY, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None),
                                        critical=True)
        builder = builder.add_extension(usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH,
                                   ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        names: List[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self.issued += 1
        stem = f"{common_name}-{self.issued}"
        return Cert(
            self._write(f"{stem}.crt", builder.sign(self.private, hashes.SHA256())
                        .public_bytes(serialization.Encoding.PEM)),
            self._write(f"{stem}.key", private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption())))

    def client(self, identity: Optional[Cert] = None) -> ssl.SSLContext:
        """A client context that trusts this authority and shows identity, if any."""
        context = ssl.create_default_context(cafile=self.path)
        if identity is not None:
            context.load_cert_chain(identity.cert, identity.key)
        return context


def usage(sign_certificates: bool) -> x509.KeyUsage:
    """Key usage of an authority or of a leaf."""
    return x509.KeyUsage(
        digital_signature=not sign_certificates, key_cert_sign=sign_certificates,
        crl_sign=sign_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False)

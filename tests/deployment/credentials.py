# SPDX-License-Identifier: Apache-2.0
"""What TLS and node authentication need, made anew for each test: nothing here outlives a day.

`docs/deployment.md` makes the same files with openssl and ssh-keygen.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = datetime.timedelta(days=1)


class ServerFiles(NamedTuple):
    """What a SuperLink is started with; nodes and users need `authority` alone."""

    authority: Path
    certificate: Path
    key: Path


class NodeFiles(NamedTuple):
    """The key pair by which a SuperLink knows a SuperNode."""

    private: Path
    public: Path


def write_server_files(folder: Path) -> ServerFiles:
    """Make an authority and a certificate for 127.0.0.1 that it has signed."""
    files = ServerFiles(folder / "ca.crt", folder / "server.pem", folder / "server.key")
    authority_key = ec.generate_private_key(ec.SECP384R1())
    authority_name = _name("deployment test authority")
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA384())
    )
    server_key = ec.generate_private_key(ec.SECP384R1())
    # Clients compare the address they call with the alternative names, never with the subject.
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    server = (
        _certificate(_name("127.0.0.1"), authority_name, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    _write_private(files.key, server_key, serialization.PrivateFormat.PKCS8)
    return files


def write_node_files(folder: Path, name: str) -> NodeFiles:
    """Make a P-384 key pair in OpenSSH's format, the one Flower reads."""
    files = NodeFiles(folder / name, folder / f"{name}.pub")
    key = ec.generate_private_key(ec.SECP384R1())
    _write_private(files.private, key, serialization.PrivateFormat.OpenSSH)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    files.public.write_bytes(public + b"\n")
    return files


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks may differ a little even between processes of one machine's containers.
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
    )


def _write_private(
    path: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat
) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )

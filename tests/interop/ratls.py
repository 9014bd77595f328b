"""What the package intel-sgx-ra makes of our certificates, and certificates in its form.

    ratls.py read PCCS URL    its own checks of the certificate that URL serves; prints what it found
    ratls.py point KEY        makes a key and prints its point
    ratls.py make KEY         for a quote on standard input, a certificate by its layout
    ratls.py token PEM        verifies the JWT on standard input with PyJWT
"""

import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)


def read(pccs: str, server: str) -> None:
    from intel_sgx_ra.attest import verify_quote
    from intel_sgx_ra.error import CertificateError
    from intel_sgx_ra.pccs import (
        get_pck_cert_crl,
        get_qe_identity,
        get_root_ca_crl,
        get_tcbinfo,
    )
    from intel_sgx_ra.pck import sgx_pck_extension_from_cert
    from intel_sgx_ra.ratls import ratls_verify_from_url

    quote = ratls_verify_from_url(server)

    # Its way to the collateral, by its own client; the names that follow are the package's.
    pck = x509.load_pem_x509_certificate(quote.certs()[0])
    fmspc = sgx_pck_extension_from_cert(pck).fmspc
    tcb_info, _, tcb_cert = get_tcbinfo(pccs, fmspc)
    qe_identity, _, _ = get_qe_identity(pccs)
    _, _, pck_ca_crl = get_pck_cert_crl(pccs, "platform")
    root_ca_crl = get_root_ca_crl(pccs)
    collaterals = (tcb_info, qe_identity, tcb_cert, root_ca_crl, pck_ca_crl)
    genuine = verify_quote(quote, collaterals=collaterals)

    # With a service's address alone it insists on Intel's names, which a simulated platform must
    # not bear.
    try:
        verify_quote(quote, pccs_url=pccs)
        refusal = None
    except CertificateError as error:
        refusal = str(error)

    print(
        json.dumps(
            {
                "genuine": genuine,
                "mr_enclave": quote.report_body.mr_enclave.hex(),
                "mr_signer": quote.report_body.mr_signer.hex(),
                "report_data": quote.report_body.report_data.hex(),
                "fmspc": fmspc.hex(),
                "online_refusal": refusal,
            }
        )
    )


def make(key_pem: str) -> None:
    """As the package's `ratls_verify` wants it: the raw quote in its extension, whose report data
    begins with the SHA-256 of the key's uncompressed point."""
    from datetime import datetime, timedelta, timezone

    from intel_sgx_ra.ratls import SGX_QUOTE_EXTENSION_OID, ratls_verify

    key = load_pem_private_key(Path(key_pem).read_bytes(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other.example")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("other.example")]), critical=False
        )
        .add_extension(
            x509.UnrecognizedExtension(
                SGX_QUOTE_EXTENSION_OID, sys.stdin.buffer.read()
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    ratls_verify(certificate)
    sys.stdout.buffer.write(certificate.public_bytes(Encoding.DER))


def point(key_pem: str) -> None:
    """Makes a key and prints the hexadecimal of its uncompressed point."""
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    Path(key_pem).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = key.public_key()
    print(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex())


def token(public_pem: str) -> None:
    import jwt

    claims = jwt.decode(
        sys.stdin.read().strip(),
        Path(public_pem).read_text(),
        algorithms=["ES256"],
        options={"require": ["iat"]},
    )
    print(json.dumps(claims))


if __name__ == "__main__":
    {"read": read, "make": make, "point": point, "token": token}[sys.argv[1]](
        *sys.argv[2:]
    )

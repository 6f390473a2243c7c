import ssl

import pytest

from shoal_server.transport.peer_certificate import identity_of_der, identity_of_pem
from shoal_testing.certificates import Authority

CA = Authority()


@pytest.mark.parametrize(
    ("names", "subject", "identity"),
    [
        (("spiffe://a/b",), "x", "spiffe://a/b"),
        (("a.example", "spiffe://a/b"), "x", "spiffe://a/b"),
        (("127.0.0.1", "A.example"), "x", "dns:a.example"),
        (("127.0.0.1",), "x", "subject:CN=x"),
        ((), "x", "subject:CN=x"),
        ((), "", ""),
        (("spiffe://a/b", "spiffe://a/c"), "x", ""),
        ((), 'a, "b"', 'subject:CN=a\\, \\"b\\"'),
        ((), "a\nadmin call allowed", "subject:CN=a\\0Aadmin call allowed"),
    ],
)
def test_the_identity_is_read_from_the_certificate_itself(names: tuple[str, ...], subject: str, identity: str) -> None:
    pem = CA.issue(*names, subject=subject).certificate
    assert identity_of_pem(pem) == identity
    assert identity_of_der(ssl.PEM_cert_to_DER_cert(pem.decode())) == identity


def test_what_is_no_certificate_is_nobody() -> None:
    assert identity_of_pem(b"junk") == identity_of_der(b"junk") == ""
    assert identity_of_pem(b"-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n") == ""

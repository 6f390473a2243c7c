import pytest

from shoal_server.transport.identity import identity_of


@pytest.mark.parametrize(
    ("uris", "dns_names", "subject", "identity"),
    [
        (["spiffe://example/ops"], ["a.example"], "CN=a", "spiffe://example/ops"),
        ([], ["A.example", "b.example"], "CN=a", "dns:a.example"),
        ([], [], "CN=a,O=b", "subject:CN=a,O=b"),
        (["https://example/ops"], ["a.example"], "CN=a", "dns:a.example"),
        ([], [], "", ""),
        # An SVID has one URI: a certificate with several proves none of them, nor anything weaker.
        (["spiffe://example/ops", "spiffe://example/admin"], ["a.example"], "CN=a", ""),
        (["spiffe://example/ops", "https://example/"], ["a.example"], "CN=a", ""),
    ],
)
def test_the_strongest_name_that_a_certificate_has_is_the_identity(
    uris: list[str], dns_names: list[str], subject: str, identity: str
) -> None:
    assert identity_of(uris, dns_names, subject) == identity


def test_a_subject_that_looks_like_another_kind_of_name_is_still_a_subject() -> None:
    assert identity_of([], [], "spiffe://example/ops") == "subject:spiffe://example/ops"
    assert identity_of([], ["spiffe://example/ops"], "") == "dns:spiffe://example/ops"

"""A bounded memory of what models take."""

from shoal_client.signature import ModelMetadata, Signature, Signatures, TensorSpec, rows_are_free

KEY = "m", ""


def signature(*versions: str) -> Signature:
    return Signature(ModelMetadata("m", versions, "", (), ()))


def test_what_was_learned_is_known_until_it_is_forgotten() -> None:
    signatures = Signatures()
    assert signatures.get(KEY) is None
    signatures.learn(KEY, signature("1"))
    assert signatures.get(KEY) == signature("1")
    signatures.forget(KEY)
    signatures.forget(KEY)
    assert signatures.get(KEY) is None


def test_an_answer_by_another_version_makes_it_ask_again() -> None:
    signatures = Signatures()
    signatures.learn(KEY, signature("1"))
    signatures.answered(KEY, "1")
    signatures.answered(KEY, "1")
    assert signatures.get(KEY) is not None
    signatures.answered(KEY, "2")
    assert signatures.get(KEY) is None


def test_an_answer_by_a_version_that_was_not_there_makes_it_ask_again() -> None:
    signatures = Signatures()
    signatures.learn(KEY, signature("1"))
    signatures.answered(KEY, "2")
    assert signatures.get(KEY) is None


def test_a_version_that_the_metadata_never_names_is_news_once() -> None:
    signatures = Signatures()
    asked = 0
    for version in ("v2", "v2", "v2", "v3", "v3"):
        if signatures.get(KEY) is None:
            signatures.learn(KEY, signature("1"))
            asked += 1
        signatures.answered(KEY, version)
    assert asked == 3, "at first, and after the news of each"
    assert signatures.get(KEY) is not None


def test_servers_that_name_no_versions_are_not_asked_for_ever() -> None:
    signatures = Signatures()
    signatures.learn(KEY, signature())
    signatures.answered(KEY, "")
    signatures.answered(KEY, "7")
    assert signatures.get(KEY) is not None


def test_who_was_asked_for_longest_ago_is_forgotten_first() -> None:
    signatures = Signatures(most=2)
    signatures.learn(("a", ""), signature())
    signatures.learn(("b", ""), signature())
    signatures.get(("a", ""))
    signatures.learn(("c", ""), signature())
    assert len(signatures) == 2
    assert signatures.get(("b", "")) is None


def test_rows_are_free_where_every_first_dimension_has_any_size() -> None:
    def metadata(*shapes: tuple[int, ...]) -> ModelMetadata:
        specs = tuple(TensorSpec("t", "FP32", shape) for shape in shapes)
        return ModelMetadata("m", (), "", specs[:1], specs[1:])

    assert rows_are_free(metadata((-1, 2), (-1,)))
    assert not rows_are_free(metadata((-1, 2), (4,)))
    assert not rows_are_free(metadata((2, -1), (-1,)))
    assert not rows_are_free(metadata((), (-1,)))
    assert not rows_are_free(metadata((-1,)))

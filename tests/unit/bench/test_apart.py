"""Whose CPUs are whose in a benchmark."""

import pytest

from shoal_bench.apart import Division, confined, divided, our_cpus, shared


@pytest.mark.parametrize(
    ("cpus", "servers", "generator"),
    [({0, 1}, (0,), (1,)), ({7, 2, 5}, (2, 5), (7,)), ({3}, (3,), (3,)), (set(), (), ())],
)
def test_the_generator_has_a_cpu_of_its_own_where_there_are_two(
    cpus: set[int], servers: tuple[int, ...], generator: tuple[int, ...]
) -> None:
    assert divided(cpus) == Division(servers, generator)


def test_shared_cpus_are_everybodys() -> None:
    assert shared({1, 0}) == Division((0, 1), (0, 1))


def test_a_thread_is_confined_for_as_long_as_the_block_lasts() -> None:
    before = our_cpus()
    if not before:
        pytest.skip("this system does not say")
    with confined({min(before)}):
        assert our_cpus() == {min(before)}
    assert our_cpus() == before
    with confined(()):
        assert our_cpus() == before

"""Which target takes the next call."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_client.health import LONGEST_OUT_S, Rotation

NAMES = ("a:1", "b:1", "c:1")


def test_calls_go_round() -> None:
    rotation = Rotation(NAMES)
    assert [rotation.pick(0.0) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [target.calls for target in rotation.health(0.0)] == [2, 2, 2]


def test_a_retry_goes_to_another_target() -> None:
    rotation = Rotation(NAMES)
    assert rotation.pick(0.0, avoid=0) == 1
    assert Rotation(("only:1",)).pick(0.0, avoid=0) == 0


def test_a_target_that_fails_is_left_out_and_then_gets_one_call_to_show_itself() -> None:
    rotation = Rotation(NAMES)
    rotation.failed(0, 0.0, 0.5)
    assert [rotation.pick(0.1) for _ in range(4)] == [1, 2, 1, 2]
    assert rotation.health(0.1)[0].out_s == 0.4
    assert [rotation.pick(0.5) for _ in range(4)] == [0, 1, 2, 1], "one probe, and no second before it is over"
    rotation.succeeded(0)
    assert sorted(rotation.pick(0.5) for _ in range(3)) == [0, 1, 2]
    assert rotation.health(0.5)[0].healthy


def test_there_is_another_where_another_takes_calls() -> None:
    rotation = Rotation(("a:1", "b:1"))
    assert rotation.has_other(0, 0.0)
    rotation.failed(1, 0.0, 0.5)
    assert not rotation.has_other(0, 0.1)
    assert rotation.has_other(1, 0.1)
    assert rotation.has_other(0, 0.5), "it may show itself"
    assert not Rotation(("only:1",)).has_other(0, 0.0)


def test_a_probe_that_its_caller_gave_up_leaves_room_for_the_next() -> None:
    rotation = Rotation(("a:1", "b:1"))
    rotation.failed(0, 0.0, 0.5)
    assert [rotation.pick(1.0), rotation.pick(1.0), rotation.pick(1.0)].count(0) == 1
    rotation.left(0)
    assert 0 in [rotation.pick(1.0), rotation.pick(1.0)]


def test_each_failure_doubles_the_time_out_up_to_the_longest() -> None:
    rotation = Rotation(("a:1", "b:1"))
    out = []
    now_s = 0.0
    for _ in range(9):
        rotation.failed(0, now_s, 0.5)
        out.append(rotation.health(now_s)[0].out_s)
        now_s += LONGEST_OUT_S
    assert out == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_where_all_are_out_the_one_that_comes_back_first_is_asked() -> None:
    rotation = Rotation(("a:1", "b:1"))
    rotation.failed(0, 0.0, 0.5)
    rotation.failed(1, 0.1, 0.5)
    assert rotation.pick(0.2) == 0
    assert rotation.pick(0.2, avoid=0) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(("pick", "failed", "succeeded", "left")), st.integers(0, 2), st.floats(0, 5)),
        max_size=100,
    )
)
def test_somebody_is_always_asked_and_nobody_is_out_for_ever(steps: list[tuple[str, int, float]]) -> None:
    rotation = Rotation(NAMES)
    now_s = 0.0
    for step, index, wait_s in steps:
        now_s += wait_s
        match step:
            case "pick":
                assert 0 <= rotation.pick(now_s, avoid=index) < 3
            case "failed":
                rotation.failed(index, now_s, 0.999)
            case "succeeded":
                rotation.succeeded(index)
            case _:
                rotation.left(index)
        assert all(target.out_s <= 1.25 * LONGEST_OUT_S for target in rotation.health(now_s))
    for index in range(3):
        rotation.left(index)
    assert {rotation.pick(now_s + 2 * LONGEST_OUT_S) for _ in range(3)} == {0, 1, 2}

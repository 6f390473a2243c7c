"""Errors that say who, what and when."""

import pickle

import pytest

from shoal_client import errors
from shoal_client.errors import CallError, Overloaded, Unavailable, class_of


def test_an_error_says_status_model_target_and_hint() -> None:
    error = Overloaded("the queue is full", model="m", target="a:1", attempts=3, retry_after_s=0.25)
    assert str(error) == (
        "RESOURCE_EXHAUSTED: model 'm' at a:1: the queue is full; the server asks to come again in 0.25 s"
        " (sent 3 times)"
    )
    assert str(Unavailable("no", never_retry=True)) == "UNAVAILABLE: no; the server asks not to come again"


def test_errors_travel_between_processes_without_their_cause() -> None:
    error = Unavailable("away", model="m", target="a:1", attempts=2, retry_after_s=1.0, cause=OSError("socket"))
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is Unavailable
    assert str(back) == str(error)
    assert (back.model, back.target, back.attempts, back.retry_after_s) == ("m", "a:1", 2, 1.0)
    assert back.cause is None


@pytest.mark.parametrize(
    "status",
    [
        "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ],
)  # fmt: skip
def test_every_status_has_a_class_of_its_own_or_a_near_one(status: str) -> None:
    kind = class_of(status)
    assert issubclass(kind, CallError)
    assert kind is not CallError
    assert kind("text", status=status).status == status


def test_what_grpc_does_not_know_yet_is_a_call_error() -> None:
    assert class_of("OUT_OF_PATIENCE") is CallError


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.ClientError):
            assert f"─ {name} " in drawn or name == "ClientError", name

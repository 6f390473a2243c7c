import json

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.plain import plain


def test_every_field_is_there_and_what_is_unset_and_may_be_is_none() -> None:
    assert plain(pb.Step()) == {"kind": "KIND_UNSPECIFIED", "version": 0, "began_s": 0.0, "seconds": None}
    assert plain(pb.OperationResult())["memory"] is None


def test_of_alternatives_only_the_one_that_is_there_is_shown() -> None:
    assert plain(pb.OperationUpdate(step=pb.Step(kind=pb.Step.LOAD, seconds=0.0))) == {
        "step": {"kind": "LOAD", "version": 0, "began_s": 0.0, "seconds": 0.0}
    }
    assert plain(pb.OperationUpdate()) == {}


def test_whole_numbers_of_64_bits_stay_numbers() -> None:
    memory = pb.OperationResult(memory=pb.Memory(peak_bytes=2**53 + 1))
    assert json.loads(json.dumps(plain(memory)))["memory"]["peak_bytes"] == 2**53 + 1


def test_maps_lists_and_names_of_states_are_those_of_the_protocol() -> None:
    model = pb.Model(name="ü", labels={"stable": 2}, versions=[pb.Version(version=2, state=pb.READY)])
    assert plain(model)["labels"] == {"stable": 2}
    assert plain(model)["versions"][0]["state"] == "READY"


def test_a_value_that_this_version_has_no_name_for_is_its_number() -> None:
    later = pb.Version.FromString(bytes([0x10, 99]))  # field 2, the state
    assert plain(later)["state"] == 99

"""Looks at real files, one by one, on a clock of the test's own."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal_server.events import CertificateExpiring, CertificateRefused, CertificateRenewed, Event
from shoal_server.security.certificates import read_material
from shoal_server.security.material import MOST_BYTES, TlsFiles, UnusableMaterial
from shoal_server.security.renewer import Renewer
from shoal_server.transport.port import TlsMaterial, TlsRefused
from shoal_testing.certificates import LOCAL, Authority, Pair

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class WallClock:
    """A clock whose wall-clock time is set by hand; the monotonic one is of no use to whoever gets it."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def monotonic(self) -> float:
        pytest.fail("a certificate's time is the wall clock's")

    def epoch(self) -> float:
        return self.now.timestamp()


class Rig:
    """A renewer of files in a folder, and what it did; the transport refuses while ``refusing`` says why."""

    def __init__(self, folder: Path, pair: Pair, ca: Authority) -> None:
        self.folder = folder
        self.ca = ca
        self.clock = WallClock()
        self.renewed: list[TlsMaterial] = []
        self.events: list[Event] = []
        self.refusing: Exception | None = None
        self.write(pair)
        (folder / "ca.pem").write_bytes(ca.certificate)
        files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
        first = read_material(files, self.clock.epoch())
        self.renewer = Renewer(files, first, [self.renew], self.clock, self.events.append)

    def renew(self, material: TlsMaterial) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.renewed.append(material)

    def write(self, pair: Pair) -> None:
        pair.write(self.folder, "server")

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.renewer.look()

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def ca() -> Authority:
    return Authority()


@pytest.fixture
def rig(tmp_path: Path, ca: Authority) -> Rig:
    return Rig(tmp_path, ca.issue(*LOCAL), ca)


def test_files_that_stay_the_same_are_left_alone_even_when_they_are_written_again(rig: Rig) -> None:
    rig.look()
    pem = (rig.folder / "server.pem").read_bytes()
    (rig.folder / "server.pem").unlink()
    (rig.folder / "server.pem").write_bytes(pem)
    rig.look(5)
    assert (rig.renewed, rig.events) == ([], [])


def test_a_new_set_is_handed_over_at_the_next_look(rig: Rig) -> None:
    pair = rig.ca.issue(*LOCAL)
    rig.write(pair)
    rig.look(3)
    assert rig.renewed == [TlsMaterial(pair.certificate, pair.key, rig.ca.certificate)]
    assert len(rig.told(CertificateRenewed)) == len(rig.events) == 1


def test_a_new_ca_alone_is_handed_over(rig: Rig) -> None:
    both = rig.ca.certificate + Authority("next").certificate
    (rig.folder / "ca.pem").write_bytes(both)
    rig.look()
    assert [one.client_ca for one in rig.renewed] == [both]


def test_a_symbolic_link_that_is_swapped_as_kubernetes_does_is_followed(tmp_path: Path, ca: Authority) -> None:
    first, second = ca.issue(*LOCAL), ca.issue(*LOCAL)
    for name, pair in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        pair.write(tmp_path / name, "server")
        (tmp_path / name / "ca.pem").write_bytes(ca.certificate)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(tmp_path / "one")
    for name in ("server.pem", "server.key", "ca.pem"):
        (mounted / name).symlink_to(Path("..data") / name)
    files = TlsFiles(mounted / "server.pem", mounted / "server.key", mounted / "ca.pem")
    renewed: list[TlsMaterial] = []
    clock = WallClock()
    renewer = Renewer(files, read_material(files, clock.epoch()), [renewed.append], clock, lambda _: None)
    renewer.look()
    (mounted / "..new").symlink_to(tmp_path / "two")
    (mounted / "..new").rename(mounted / "..data")
    renewer.look()
    assert [one.certificate for one in renewed] == [second.certificate]


def test_a_set_that_is_written_in_two_steps_is_awaited_without_a_word(rig: Rig) -> None:
    pair = rig.ca.issue(*LOCAL)
    (rig.folder / "server.pem").write_bytes(pair.certificate)
    rig.look(2)
    (rig.folder / "server.key").write_bytes(pair.key)
    rig.look()
    assert [one.key for one in rig.renewed] == [pair.key]
    assert rig.told(CertificateRefused) == []


def test_an_unusable_set_is_refused_once_and_a_good_one_taken_after_it(rig: Rig) -> None:
    (rig.folder / "server.key").write_bytes(rig.ca.issue(*LOCAL).key)
    rig.look(10)
    [refused] = rig.events
    assert isinstance(refused, CertificateRefused)
    assert "server.key is not that of the certificate" in refused.problem
    assert rig.renewed == []
    rig.write(rig.ca.issue(*LOCAL))
    rig.look(3)
    assert len(rig.renewed) == 1


def test_what_the_transport_cannot_use_is_refused_once_and_a_good_one_taken_after_it(rig: Rig) -> None:
    first = (rig.folder / "server.pem").read_bytes(), (rig.folder / "server.key").read_bytes()
    rig.refusing = TlsRefused("its key is of a strange kind")
    rig.write(rig.ca.issue(*LOCAL))
    rig.look(10)
    assert rig.events == [CertificateRefused(f"{rig.folder / 'server.pem'}: its key is of a strange kind")]
    rig.refusing = None
    rig.write(Pair(*first))
    rig.look(3)
    assert (rig.renewed, len(rig.events)) == ([], 1), "these are in use"
    rig.write(rig.ca.issue(*LOCAL))
    rig.look(3)
    assert len(rig.renewed) == len(rig.told(CertificateRenewed)) == 1


def test_what_a_bug_kept_from_being_used_is_tried_again_at_the_next_look(rig: Rig) -> None:
    rig.refusing = RuntimeError("a bug")
    rig.write(rig.ca.issue(*LOCAL))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a bug"):
            rig.look()
    rig.refusing = None
    rig.look()
    assert len(rig.renewed) == 1


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_a_file_that_is_gone_unreadable_or_endless_is_refused_once_by_name(rig: Rig, name: str) -> None:
    content = (rig.folder / name).read_bytes()
    (rig.folder / name).unlink()
    rig.look(5)
    (rig.folder / name).mkdir()
    rig.look(5)
    (rig.folder / name).rmdir()
    (rig.folder / name).write_bytes(content + bytes(MOST_BYTES))
    rig.look(5)
    problems = [event.problem for event in rig.events if isinstance(event, CertificateRefused)]
    assert [problem.split(": ")[-1] for problem in problems] == [
        "No such file or directory",
        "Is a directory",
        "that is no certificate or key",
    ]
    assert all(name in problem for problem in problems)
    (rig.folder / name).write_bytes(content)
    rig.look(5)
    assert rig.renewed == []


def test_what_is_not_valid_yet_is_taken_when_it_is(rig: Rig) -> None:
    rig.write(rig.ca.issue(*LOCAL, begins=HOUR))
    rig.look(10)
    [refused] = rig.events
    assert isinstance(refused, CertificateRefused)
    assert "is valid only from" in refused.problem
    rig.clock.now += 2 * HOUR
    rig.look(3)
    assert len(rig.renewed) == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_wall_clock_that_jumps_takes_nothing_that_is_in_use_away(rig: Rig, jump: timedelta) -> None:
    for _ in range(5):
        rig.clock.now += jump
        rig.look(3)
        rig.clock.now -= jump
        rig.look(3)
    assert (rig.renewed, rig.events) == ([], [])


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_rotation_while_the_wall_clock_is_wrong_is_taken_at_once_or_when_it_is_right_again(
    rig: Rig, jump: timedelta
) -> None:
    """A certificate made now, with no time before it, is of the future for whoever is an hour behind."""
    rig.clock.now += jump
    rig.write(rig.ca.issue(*LOCAL, begins=timedelta()))
    rig.look(5)
    assert len(rig.renewed) == (jump > timedelta())
    rig.clock.now -= jump - timedelta(minutes=1)
    rig.look(5)
    assert len(rig.renewed) == 1


def test_the_end_of_the_certificate_in_use_is_told_when_it_comes_near_and_when_it_has_come(
    tmp_path: Path, ca: Authority
) -> None:
    rig = Rig(tmp_path, ca.issue(*LOCAL, ends=20 * DAY, begins=-80 * DAY), ca)
    for days in (0, 0, 14, 19.5, 20.5, 21):
        rig.clock.now = datetime.now(UTC) + days * DAY
        rig.look(2)
    left = [event.left_s / 86_400 for event in rig.events if isinstance(event, CertificateExpiring)]
    assert left == pytest.approx([20, 6, 0.5, -0.5], abs=0.01)
    rig.write(ca.issue(*LOCAL, ends=95 * DAY))
    rig.look(3)
    assert len(rig.told(CertificateExpiring)) == 4, "the new one is good for long"


def test_a_pipe_in_the_place_of_a_file_is_refused_and_keeps_nobody_waiting(rig: Rig) -> None:
    certificate = rig.folder / "server.pem"
    certificate.unlink()
    os.mkfifo(certificate)
    rig.look(3)
    assert rig.told(CertificateRefused) == [CertificateRefused(f"{certificate} is not a regular file")]
    certificate.unlink()
    rig.write(rig.ca.issue(*LOCAL))
    rig.look()
    assert len(rig.renewed) == 1, "it goes on where there is a file again"


def test_nothing_is_read_at_the_start_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnusableMaterial, match=r"server.pem cannot be read: No such file"):
        read_material(TlsFiles(tmp_path / "server.pem", tmp_path / "server.key"), 0.0)


def test_the_thread_ends_when_it_is_told(rig: Rig) -> None:
    rig.renewer.stop()
    rig.renewer.start()
    rig.renewer.stop()

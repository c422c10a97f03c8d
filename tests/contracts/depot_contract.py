"""What every depot promises. Each one's tests inherit this."""

from __future__ import annotations

import os
import threading
import time

import pytest

from depot import Depot, DepotUnreachable, NotInDepot

FAR_S = 1e11  # a time that never was
NAME = "models/" + 64 * "a"
OTHER = f"updates/{32 * 'b'}/{64 * 'c'}"
LARGE_BYTES = 11 * 2**20 + 7  # more than two parts of an upload to a bucket


class DepotContract:
    """The suite. A subclass gives the depot, and others of the same place."""

    @pytest.fixture
    def depot(self) -> Depot:
        raise NotImplementedError

    @pytest.fixture
    def other_federation(self) -> Depot:
        """A depot of another federation in the same place."""
        raise NotImplementedError

    @pytest.fixture
    def lost(self) -> Depot:
        """A depot that cannot be reached."""
        raise NotImplementedError

    def test_what_was_put_is_read(self, depot: Depot) -> None:
        depot.put(NAME, b"0123456789")
        assert depot.size(NAME) == 10
        assert bytes(depot.read(NAME, 0, 10)) == b"0123456789"

    def test_a_range_is_read(self, depot: Depot) -> None:
        depot.put(NAME, b"0123456789")
        assert bytes(depot.read(NAME, 3, 4)) == b"3456"

    def test_a_range_beyond_the_end_gives_less(self, depot: Depot) -> None:
        depot.put(NAME, b"0123456789")
        assert bytes(depot.read(NAME, 8, 4)) == b"89"

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_every_kind_of_bytes_can_be_put(self, depot: Depot, kind: type) -> None:
        depot.put(NAME, kind(b"0123456789"))
        assert bytes(depot.read(NAME, 0, 10)) == b"0123456789"

    def test_numbers_are_put_as_their_bytes(self, depot: Depot) -> None:
        depot.put(NAME, memoryview(b"01234567").cast("I"))
        assert bytes(depot.read(NAME, 0, 8)) == b"01234567"

    def test_an_empty_object_is_one(self, depot: Depot) -> None:
        depot.put(NAME, b"")
        assert depot.size(NAME) == 0

    def test_a_large_object_goes_and_comes_whole(self, depot: Depot) -> None:
        data = os.urandom(LARGE_BYTES)
        depot.put(NAME, data)
        assert depot.size(NAME) == LARGE_BYTES
        spans = range(0, LARGE_BYTES, 4 * 2**20)
        assert b"".join(bytes(depot.read(NAME, at, 4 * 2**20)) for at in spans) == data

    def test_who_puts_a_large_object_hears_that_it_goes_on(self, depot: Depot) -> None:
        heard: list[int] = []
        depot.put(NAME, bytes(LARGE_BYTES), lambda: heard.append(1))
        assert heard

    def test_it_may_be_put_again(self, depot: Depot) -> None:
        depot.put(NAME, b"half of it")
        depot.put(NAME, b"all of it, and more")
        assert bytes(depot.read(NAME, 0, 100)) == b"all of it, and more"

    def test_what_is_not_there_has_no_size(self, depot: Depot) -> None:
        assert depot.size(NAME) is None

    def test_what_is_not_there_cannot_be_read(self, depot: Depot) -> None:
        with pytest.raises(NotInDepot):
            depot.read(NAME, 0, 1)

    def test_what_was_deleted_is_not_there(self, depot: Depot) -> None:
        depot.put(NAME, b"1")
        depot.put(OTHER, b"2")
        depot.delete(NAME)
        assert depot.size(NAME) is None
        assert depot.size(OTHER) == 1

    def test_what_is_not_there_may_be_deleted(self, depot: Depot) -> None:
        depot.delete(NAME)

    def test_what_is_old_expires(self, depot: Depot) -> None:
        depot.put(NAME, b"1")
        depot.put(OTHER, b"2")
        assert depot.expire("updates", FAR_S, lambda _: False) == 1
        assert depot.size(NAME) == 1
        assert depot.size(OTHER) is None

    def test_what_is_new_does_not_expire(self, depot: Depot) -> None:
        depot.put(NAME, b"1")
        assert depot.expire("models", time.time() - 3600.0, lambda _: False) == 0
        assert depot.size(NAME) == 1

    def test_what_is_spared_does_not_expire(self, depot: Depot) -> None:
        depot.put("models/a", b"1")
        depot.put("models/b", b"1")
        assert depot.expire("models", FAR_S, lambda name: name == "models/a") == 1
        assert depot.size("models/a") == 1
        assert depot.size("models/b") is None

    def test_nothing_of_another_federation_is_seen_or_expires(
        self, depot: Depot, other_federation: Depot
    ) -> None:
        other_federation.put(NAME, b"1")
        assert depot.size(NAME) is None
        assert depot.expire("models", FAR_S, lambda _: False) == 0
        assert other_federation.size(NAME) == 1

    @pytest.mark.parametrize("name", ["", "/", "../a", "a/../b", "a//b", "A", "a.b", "a/", "/a"])
    def test_a_name_that_may_lead_elsewhere_is_a_bug(self, depot: Depot, name: str) -> None:
        with pytest.raises(ValueError, match="expected words"):
            depot.put(name, b"1")
        with pytest.raises(ValueError, match="expected words"):
            depot.read(name, 0, 1)

    def test_a_depot_that_is_not_reached_says_so(self, lost: Depot) -> None:
        """Above all it does not say that an object is not there."""
        with pytest.raises(DepotUnreachable):
            lost.put(NAME, b"1")
        with pytest.raises(DepotUnreachable):
            lost.size(NAME)
        with pytest.raises(DepotUnreachable):
            lost.read(NAME, 0, 1)
        with pytest.raises(DepotUnreachable):
            lost.delete(NAME)
        with pytest.raises(DepotUnreachable):
            lost.expire("models", FAR_S, lambda _: False)

    def test_two_may_put_the_same_at_a_time(self, depot: Depot) -> None:
        data = os.urandom(LARGE_BYTES)
        threads = [threading.Thread(target=depot.put, args=(NAME, data)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert depot.size(NAME) == LARGE_BYTES
        assert bytes(depot.read(NAME, LARGE_BYTES - 9, 9)) == data[-9:]

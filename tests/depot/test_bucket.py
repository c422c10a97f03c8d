"""A depot that is a bucket, on a small store on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from depot import DepotError, DepotUnreachable, DepotUnusable
from depot.bucket import BucketDepot, BucketPlace, read_credentials
from tests.contracts.depot_contract import FAR_S, LARGE_BYTES, NAME, DepotContract
from tests.support.s3_server import BUCKET, KEY, SECRET, S3Store, s3_server

pytest.importorskip("obstore")


@pytest.fixture
def store() -> Iterator[S3Store]:
    with s3_server() as store:
        yield store


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    return path


def place(store: S3Store, credentials: Path, bucket: str = BUCKET, prefix: str = "") -> BucketPlace:
    return BucketPlace(bucket, prefix, store.url, "eu-central-1", credentials)


@pytest.fixture
def depot(store: S3Store, credentials: Path) -> BucketDepot:
    return BucketDepot(place(store, credentials, prefix="some/where"), "demo")


class TestBucketDepot(DepotContract):
    @pytest.fixture
    def depot(self, store: S3Store, credentials: Path) -> BucketDepot:
        return BucketDepot(place(store, credentials), "demo")

    @pytest.fixture
    def other_federation(self, store: S3Store, credentials: Path) -> BucketDepot:
        return BucketDepot(place(store, credentials), "demo-2")

    @pytest.fixture(params=["no server", "no such bucket"])
    def lost(
        self, store: S3Store, credentials: Path, request: pytest.FixtureRequest
    ) -> BucketDepot:
        if request.param == "no such bucket":
            return BucketDepot(place(store, credentials, bucket="none-of-ours"), "demo")
        with s3_server() as closed:
            gone = place(closed, credentials)
        return BucketDepot(gone, "demo")


def test_names_begin_with_the_prefix_and_the_federation(store: S3Store, depot: BucketDepot) -> None:
    depot.put(NAME, b"1")
    assert list(store.objects) == [f"some/where/demo/{NAME}"]


def test_a_large_object_goes_in_parts_and_leaves_none(store: S3Store, depot: BucketDepot) -> None:
    data = os.urandom(LARGE_BYTES)
    depot.put(NAME, data)
    assert store.objects[f"some/where/demo/{NAME}"] == data
    assert store.unfinished == {}
    assert sum("partNumber" in path for _, path in store.requests) == 3


def test_what_is_refused_for_a_moment_is_tried_again(store: S3Store, depot: BucketDepot) -> None:
    store.refuse = 1
    depot.put(NAME, b"1")
    store.refuse = 1
    assert depot.size(NAME) == 1


def test_what_is_refused_again_and_again_is_given_up(store: S3Store, depot: BucketDepot) -> None:
    store.refuse = 100
    with pytest.raises(DepotUnreachable, match="cannot put models"):
        depot.put(NAME, b"1")
    assert store.refuse > 90


def test_a_body_that_is_cut_is_never_taken_for_the_whole(
    store: S3Store, depot: BucketDepot
) -> None:
    depot.put(NAME, b"0123456789")
    store.cut_body_at = 4
    try:
        found = bytes(depot.read(NAME, 0, 10))
    except DepotUnreachable:
        return
    assert found == b"0123456789"


def test_a_bucket_that_is_not_there_is_no_place_to_put_into(
    store: S3Store, credentials: Path
) -> None:
    depot = BucketDepot(place(store, credentials, bucket="none-of-ours"), "demo")
    with pytest.raises(DepotUnreachable, match="no bucket"):
        depot.put(NAME, b"1")


def test_that_the_bucket_is_there_is_looked_at_once(store: S3Store, depot: BucketDepot) -> None:
    for _ in range(3):
        assert depot.size(NAME) is None
    assert len(store.requests) == 4


def test_a_name_that_none_of_ours_has_ends_no_sweep(store: S3Store, depot: BucketDepot) -> None:
    foreign = "some/where/demo/models/Read-me.txt"
    store.keep(foreign, b"of the administrator")
    depot.put(NAME, b"1")
    assert depot.expire("models", FAR_S, lambda _: False) == 1
    assert list(store.objects) == [foreign]


def test_no_error_shows_a_secret(store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = HIDDEN\naws_secret_access_key = HIDDEN\n")
    depot = BucketDepot(place(store, path), "demo")
    with pytest.raises(DepotUnreachable) as caught:
        depot.put(NAME, b"1")
    assert "HIDDEN" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[default]\naws_access_key_id = HIDDEN\n",
        "[other]\naws_access_key_id = HIDDEN\naws_secret_access_key = HIDDEN\n",
        "HIDDEN",
        "[default\nHIDDEN",
    ],
)
def test_a_file_without_credentials_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials"
    path.write_text(text)
    with pytest.raises(DepotUnusable, match=r"aws_access_key_id and aws_secret") as caught:
        read_credentials(path)
    assert "HIDDEN" not in str(caught.value)


def test_a_file_of_credentials_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DepotUnusable, match="No such file"):
        read_credentials(tmp_path / "none")


def test_a_session_token_is_taken_too(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text(
        "[default]\naws_access_key_id=a\naws_secret_access_key=b\naws_session_token=c%d\n"
    )
    assert read_credentials(path) == {
        "access_key_id": "a",
        "secret_access_key": "b",
        "session_token": "c%d",
    }


def test_credentials_may_come_from_the_environment(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    depot = BucketDepot(BucketPlace(BUCKET, "", store.url), "demo")
    depot.put(NAME, b"1")
    assert depot.size(NAME) == 1


def test_without_obstore_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, credentials: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(DepotUnusable, match=r"pip install 'fedmq\[depot\]'"):
        BucketDepot(BucketPlace(BUCKET), "demo")


def test_all_that_goes_wrong_has_one_root() -> None:
    assert issubclass(DepotUnusable, DepotError)
    assert issubclass(DepotUnreachable, DepotError)

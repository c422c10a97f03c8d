import errno
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from settings.errors import SettingsError
from settings.logging import LEVELS, configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, pika = logging.getLogger(), logging.getLogger("pika")
    before = root.level, pika.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    pika.setLevel(before[1])
    root.handlers[:] = before[2]


def test_a_record_is_one_line_in_utc_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logging.getLogger("coordinator.service").info("round %d closed", 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO coordinator.service round 3 closed\n", err
    )


def test_a_time_is_that_of_utc() -> None:
    configure_logging("info")
    record = logging.LogRecord("a", logging.INFO, "", 0, "b", None, None)
    record.created = 1_767_268_800.0
    handler = next(one for one in logging.getLogger().handlers if one.name == "fedmq")
    assert handler.format(record) == "2026-01-01T12:00:00Z INFO a b"


def test_records_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    logging.getLogger("a").info("quiet")
    assert capsys.readouterr().err == ""


def test_configuring_again_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("error")
    configure_logging("info")
    logging.getLogger("a").info("once")
    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.parametrize("level", LEVELS)
def test_pika_is_heard_only_when_debugging(level: str) -> None:
    configure_logging(level)
    pika = logging.getLogger("pika.connection")
    assert not pika.isEnabledFor(logging.INFO)
    assert pika.isEnabledFor(logging.ERROR) == (level == "debug")
    assert pika.isEnabledFor(logging.CRITICAL)


def test_no_password_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logger = logging.getLogger("a")
    url = "amqp://user:s3cret@host"
    logger.info("to %s", url)
    try:
        raise ConnectionError(f"refused by {url}")
    except ConnectionError:
        logger.exception("lost")
    err = capsys.readouterr().err
    assert "s3cret" not in err
    assert err.count("amqp://user:***@host") == 2


def test_a_traceback_and_a_line_break_stay_on_the_record_s_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info")
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        logging.getLogger("a").exception("three\nfour")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "three | four | Traceback" in err
    assert "ValueError: one | two" in err


def test_an_unknown_level_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match=r'expected one of debug, info.*, got "loud"'):
        configure_logging("loud")


def test_a_log_on_a_full_disk_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusingStream(io.StringIO):
        def write(self, *_: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stderr", RefusingStream())
    configure_logging("info")
    logging.getLogger("a").info("not written")

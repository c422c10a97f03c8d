import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from settings.command import run_command
from settings.errors import SettingsError


class DiskFullError(Exception):
    """There is no room."""


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


def test_the_code_of_the_command_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: 3) == 3
    assert capsys.readouterr().err == ""


def test_a_wrong_setting_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(SettingsError("rounds.goal", "more", "less"))) == 2
    assert capsys.readouterr().err == "fedmq: rounds.goal: expected more, got less\n"


def test_other_errors_of_the_user_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = DiskFullError("no room\nat amqp://user:s3cret@host")
    assert run_command(raising(error), (DiskFullError,)) == 2
    assert capsys.readouterr().err == "fedmq: no room at amqp://user:***@host\n"


def test_an_error_without_a_text_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(DiskFullError()), (DiskFullError,)) == 2
    assert capsys.readouterr().err == "fedmq: DiskFullError\n"


def test_a_bug_passes_through() -> None:
    with pytest.raises(DiskFullError):
        run_command(raising(DiskFullError("no room")))


def test_the_exit_of_the_argument_parser_passes_through() -> None:
    with pytest.raises(SystemExit):
        run_command(raising(SystemExit(0)))


def test_an_interrupt_is_exit_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def test_windows_is_refused_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[bool] = []

    def main() -> int:
        ran.append(True)
        return 0

    assert run_command(main, platform="win32") == 2
    assert not ran
    err = capsys.readouterr().err
    assert err.startswith("fedmq: Windows is not supported")
    assert err.count("\n") == 1


def test_a_reader_who_went_away_is_no_error() -> None:
    program = (
        "import sys\n"
        "from settings.command import run_command\n"
        "def main():\n"
        "    print('x' * 10_000_000)\n"
        "    return 0\n"
        "sys.exit(run_command(main))\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")

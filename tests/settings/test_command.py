import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from settings.command import run_command
from settings.errors import SettingsError
from tests.support.outlets import full_disk, nobody_reads


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


PRINTS_MUCH = """
import sys
from settings.command import run_command
def main():
    print("x" * 10_000_000)
    return 0
sys.exit(run_command(main))
"""
SAYS = """
import sys
from settings.command import {say}, run_command
def main():
    {say}("a line")
    print("went on", file=sys.stderr)
    return 0
sys.exit(run_command(main))
"""


def ended(program: str, stdout: int, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """The exit code of a program, and what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stderr or b"").decode()


def test_a_reader_who_went_away_is_no_error() -> None:
    with nobody_reads() as stdout:
        assert ended(PRINTS_MUCH, stdout) == (141, "")


def test_what_a_service_says_on_the_way_need_not_be_taken() -> None:
    with nobody_reads() as stdout:
        assert ended(SAYS.format(say="say"), stdout)[1] == "went on\n"
    with full_disk() as stdout:
        assert ended(SAYS.format(say="say"), stdout)[1].startswith("went on\n")


def test_a_result_that_cannot_be_written_is_said_so() -> None:
    with nobody_reads() as stdout:
        assert ended(SAYS.format(say="say_result"), stdout) == (141, "")
    with full_disk() as stdout:
        code, said = ended(SAYS.format(say="say_result"), stdout)
    assert code == 1
    assert said.startswith("fedmq: the output could not be written: No space left on device")


def test_a_complaint_to_a_full_disk_keeps_its_exit_code() -> None:
    program = """
import sys
from settings.command import run_command
from settings.errors import SettingsError
def main():
    raise SettingsError("rounds.goal", "more", "less")
sys.exit(run_command(main))
"""
    with full_disk() as stderr:
        assert ended(program, subprocess.DEVNULL, stderr)[0] == 2


@pytest.mark.parametrize("say", ["say_result", "write_result"])
def test_a_result_cannot_be_said_where_stdout_was_closed(say: str) -> None:
    program = "import sys; sys.stdout = None\n" + SAYS.format(say=say)
    complaint = "fedmq: the output could not be written: stdout is closed\n"
    assert ended(program, subprocess.DEVNULL) == (1, complaint)


def test_a_service_works_on_where_stdout_was_closed() -> None:
    program = "import sys; sys.stdout = None\n" + SAYS.format(say="say")
    assert ended(program, subprocess.DEVNULL) == (0, "went on\n")


def test_a_complaint_is_no_output_where_stderr_was_closed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert run_command(raising(SettingsError("rounds.goal", "more", "less"))) == 2
    assert capsys.readouterr().out == ""

"""How a command speaks and ends: with one line for what the user can mend, and an exit code."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from settings.errors import SettingsError, one_line
from settings.masking import mask_text

EXIT_UNSAID = 1  # as of `cat` and its like
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def run_command(
    main: Callable[[], int],
    user_errors: tuple[type[Exception], ...] = (),
    *,
    platform: str = sys.platform,
) -> int:
    """Run a command and turn what it raises into an exit code.

    Args:
        main: The command; returns its exit code.
        user_errors: Besides `SettingsError`, what the user can mend; shown as one line on stderr,
            without a traceback. Anything else is a bug and passes through.
        platform: The system, as `sys.platform` names it.

    Returns:
        What `main` returned; 1 when the output could not be written, 2 for an error of the user or
        on Windows, 130 when interrupted, 141 when whoever read the output went away.
    """
    if platform in ("win32", "cygwin"):
        complain("Windows is not supported; run it on Linux or macOS, or in WSL 2")
        return EXIT_USER_ERROR
    expected: tuple[type[Exception], ...] = (SettingsError, *user_errors)
    try:
        code = main()
        _write_out()  # what is still to be written, here where it can be handled
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return EXIT_BROKEN_PIPE
    except UnsaidError as error:
        _silence(sys.stdout)
        complain(str(error))
        return EXIT_UNSAID
    except expected as error:
        complain(str(error) or type(error).__name__)
        return EXIT_USER_ERROR
    return code


class UnsaidError(Exception):
    """What a command came to cannot be written: stdout is a full disk, say."""


def say_result(text: str) -> None:
    """Print a line of what a command came to.

    Raises:
        UnsaidError: It cannot be written; `run_command` makes the exit code of it.
        BrokenPipeError: Whoever read the output went away; likewise.
    """
    with or_unsaid():
        print(text, flush=True)


def write_result(text: str) -> None:
    """Write a piece of a long result; `run_command` sees to what is still in a buffer.

    Raises:
        UnsaidError: As `say_result`.
        BrokenPipeError: Likewise.
    """
    with or_unsaid():
        sys.stdout.write(text)


def say(text: str) -> None:
    """Print a line on the way; a service works on though nobody takes what it says."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def complain(text: str) -> None:
    """Print a line on stderr, if that takes it."""
    if sys.stderr is None:  # it was closed before we began; `print` would take stdout
        return
    try:
        print(f"fedmq: {one_line(mask_text(text))}", file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)  # or the exit code would be another


@contextlib.contextmanager
def or_unsaid() -> Iterator[None]:
    """Write a result in another way.

    Raises:
        UnsaidError: As `say_result`.
        BrokenPipeError: Likewise.
    """
    if sys.stdout is None:  # it was closed before we began; `print` would say nothing
        raise UnsaidError("the output could not be written: stdout is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnsaidError(f"the output could not be written: {error.strerror}") from error


def _write_out() -> None:
    if sys.stdout is None:
        return  # a service that nobody listens to; who has a result to say has said so
    with or_unsaid():
        sys.stdout.flush()


def _silence(stream: TextIO | None) -> None:
    """Let the interpreter flush at exit without a second error."""
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a file, as in a test
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)

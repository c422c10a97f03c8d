"""How a command ends: with one line for what the user can mend, and an exit code."""

import os
import sys
from collections.abc import Callable

from settings.errors import SettingsError, one_line
from settings.masking import mask_text

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
        What `main` returned; 2 for an error of the user or on Windows, 130 when interrupted, 141
        when whoever read the output went away.
    """
    if platform in ("win32", "cygwin"):
        _complain("Windows is not supported; run it on Linux or macOS, or in WSL 2")
        return EXIT_USER_ERROR
    expected: tuple[type[Exception], ...] = (SettingsError, *user_errors)
    try:
        code = main()
        sys.stdout.flush()  # here, where a broken pipe can still be handled
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except expected as error:
        _complain(str(error) or type(error).__name__)
        return EXIT_USER_ERROR
    return code


def _complain(text: str) -> None:
    print(f"fedmq: {one_line(mask_text(text))}", file=sys.stderr)


def _silence_stdout() -> None:
    """Let the interpreter flush at exit without a second error."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file, as in a test
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)

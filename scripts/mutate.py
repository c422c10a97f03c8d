"""Take each rule of the delivery protocol away and look whether its test fails; `make mutations`.

The tracked files are copied to a temporary folder for each of two workers. There the tests are run
once as they are, then one rule after another is taken out of the code, the one test named beside it
is run, and the file is put back. The working tree is never touched.

Only a test that fails counts. One that cannot be collected, or does not end in its time, says
nothing about the rule: the check itself has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutations.mutation import Mutation
from tests.mutations.rules import RULES

ROOT = Path(__file__).parent.parent
WORKERS = 2
TIMEOUT_S = 300.0  # for one test, the longest of which takes half a minute
LAST_LINES = 8  # of a test's output, where it is not what was expected

_ALL_PASSED, _SOME_FAILED = 0, 1  # exit codes of pytest; others are errors of usage or collection

Found = Literal["noticed", "survived", "error"]
_FOUND: dict[int, Found] = {_ALL_PASSED: "survived", _SOME_FAILED: "noticed"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutation.

    Attributes:
        detail: The end of the test's output, "" where all is as it should be.
    """

    mutation: Mutation
    found: Found
    seconds: float
    detail: str = ""

    def __str__(self) -> str:
        """One line, and the test's last words if something is wrong."""
        mutation = self.mutation
        line = f"{self.found:<8} {self.seconds:5.1f} s  {mutation.rule}: {mutation.what}"
        return f"{line}  [{mutation.test}]\n{self.detail}" if self.detail else line


class Workshop:
    """A copy of the tracked files, in which one thing at a time is changed.

    Args:
        root: A folder under git; what is not committed is copied too.
        timeout_s: How long a test may take.
    """

    def __init__(self, root: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="mutations-"))
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file():  # one that was removed and not committed is not
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, self.folder / name)

    def close(self) -> None:
        """End what runs, and remove the copy. Safe to call twice, and from another thread."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _end(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def try_out(self, mutation: Mutation) -> Outcome:
        """Take a rule away, run its test, and put the rule back."""
        began = time.monotonic()
        with self._without(mutation):
            code, output = self.run_tests([mutation.test])
        found = _FOUND.get(code, "error")
        detail = "" if found == "noticed" else "\n".join(output.splitlines()[-LAST_LINES:])
        return Outcome(mutation, found, time.monotonic() - began, detail)

    @contextlib.contextmanager
    def _without(self, mutation: Mutation) -> Iterator[None]:
        path = self.folder / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise ValueError(f"{mutation.file}: expected once, came otherwise: {mutation.old!r}")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        try:
            yield
        finally:
            if path.exists():
                path.write_text(text, encoding="utf-8")

    def run_tests(self, tests: Sequence[str], times: int = 1) -> tuple[int, str]:
        """Run some tests up to the first that fails.

        Args:
            tests: Their node ids.
            times: How often the time of one test they may take together.

        Returns:
            pytest's exit code, -1 if it had to be ended; and its output.
        """
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),  # processes that tests start are of the copy, too
            "PYTHONDONTWRITEBYTECODE": "1",  # two changes in one second look alike to a cache
        }
        with self._lock:
            if self._closed:
                return -1, "stopped"
            self._process = process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # so that all it started can be ended with it
            )
        try:
            output, _ = process.communicate(timeout=self._timeout_s * times)
        except subprocess.TimeoutExpired:
            _end(process)
            assert process.stdout is not None
            process.stdout.close()
            return -1, f"it did not end in {self._timeout_s * times:.0f} s"
        return process.returncode, output


def _end(process: subprocess.Popen[str]) -> None:
    """End a test that runs, and all that it started."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)  # pytest tidies up, a broker of its own for example
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check(
    root: Path, mutations: Sequence[Mutation], workers: int = WORKERS
) -> Generator[Outcome, None, None]:
    """Try mutations out, several at a time; in the order in which they are done.

    Raises:
        ValueError: If a mutation does not fit its file.
    """
    todo: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    for mutation in mutations:
        todo.put(mutation)
    done: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
    with contextlib.ExitStack() as opened:
        for _ in range(min(workers, len(mutations))):
            workshop = Workshop(root)
            opened.callback(workshop.close)
            threading.Thread(target=_work, args=(workshop, todo, done), daemon=True).start()
        for _ in mutations:
            outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome


def _work(
    workshop: Workshop,
    todo: queue.SimpleQueue[Mutation],
    done: queue.SimpleQueue[Outcome | Exception],
) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            try:
                done.put(workshop.try_out(todo.get_nowait()))
            except (OSError, ValueError) as error:
                done.put(error)


def chosen(words: Sequence[str]) -> list[Mutation]:
    """The mutations that have each of these words in their rule, file or test."""

    def has(mutation: Mutation, word: str) -> bool:
        texts = (mutation.rule, mutation.what, mutation.file, mutation.test)
        return any(word.lower() in text.lower() for text in texts)

    return [mutation for mutation in RULES if all(has(mutation, word) for word in words)]


def main() -> int:
    """Check the rules; 1 if one of them can go and nothing fails, 2 if the check cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("words", nargs="*", help="only mutations with these words, say: §4 spool")
    mutations = chosen(parser.parse_args().words)
    if not mutations:
        print("no mutation has these words", file=sys.stderr)
        return 2
    for ending in (signal.SIGINT, signal.SIGTERM):  # tests are ended with it, however it ends
        signal.signal(ending, signal.default_int_handler)
    try:
        if not _tests_pass(mutations):
            return 2
        return _report(mutations)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _tests_pass(mutations: Sequence[Mutation]) -> bool:
    """Whether the tests pass with all rules in place, or they would "notice" anything."""
    tests = sorted({mutation.test for mutation in mutations})
    print(f"{len(tests)} tests with all rules in place ...", flush=True)
    workshop = Workshop(ROOT)
    try:
        code, output = workshop.run_tests(tests, times=len(tests))
    finally:
        workshop.close()
    if code != _ALL_PASSED:
        print(f"{output}\nthese tests do not pass with all rules in place", file=sys.stderr)
    return code == _ALL_PASSED


def _report(mutations: Sequence[Mutation]) -> int:
    outcomes: list[Outcome] = []
    with contextlib.closing(check(ROOT, mutations)) as outcomes_to_come:
        for outcome in outcomes_to_come:
            outcomes.append(outcome)
            print(f"{len(outcomes):>3}/{len(mutations)} {outcome}", flush=True)
    missed = [outcome for outcome in outcomes if outcome.found != "noticed"]
    print(f"{len(outcomes) - len(missed)} of {len(outcomes)} were noticed")
    for outcome in missed:
        print(f"{outcome.found}: {outcome.mutation.rule}: {outcome.mutation.what}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

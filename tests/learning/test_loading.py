from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from learning.errors import (
    LearnerError,
    LearnerFileError,
    LearnerImportError,
    LearnerLoadError,
    LearnerNameError,
    LearnerSpecError,
    MissingExtraError,
    NotALearnerError,
)
from learning.loading import load_learner

GOOD = """
from dataclasses import dataclass

@dataclass
class Mean:
    start: float = 0.0

    def initial_parameters(self):
        return {"mean": self.start}

    def train(self, parameters, request):
        raise NotImplementedError

learner = Mean()
other = Mean(5.0)

def make():
    return Mean(7.0)

def broken():
    raise RuntimeError("no data today")

number = 3
"""


@pytest.fixture(autouse=True)
def unchanged_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("_fedmq_learner_") or name.startswith("neighbour_"):
            del sys.modules[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "mean.py", GOOD)


def write(path: Path, source: str) -> Path:
    path.write_text(source)
    return path


def start_of(spec: str) -> object:
    return load_learner(spec).initial_parameters()["mean"]


def test_a_file_alone_means_its_name_learner(file: Path) -> None:
    assert start_of(str(file)) == 0.0


def test_a_name_in_a_file_is_found(file: Path) -> None:
    assert start_of(f"{file}:other") == 5.0


def test_a_class_or_function_that_gives_a_learner_is_called(file: Path) -> None:
    assert start_of(f"{file}:Mean") == 0.0
    assert start_of(f"{file}:make") == 7.0


def test_a_factory_is_called_each_time(file: Path) -> None:
    assert load_learner(f"{file}:make") is not load_learner(f"{file}:make")


def test_a_file_is_executed_once_until_it_changes(file: Path) -> None:
    first = load_learner(str(file))
    assert load_learner(str(file)) is first
    write(file, GOOD.replace("start: float = 0.0", "start: float = 11.0"))
    assert start_of(str(file)) == 11.0


def test_a_relative_path_starts_at_the_working_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert start_of("mean.py") == 0.0


def test_objects_of_a_learners_own_classes_can_be_pickled(file: Path) -> None:
    learner = load_learner(str(file))
    assert pickle.loads(pickle.dumps(learner)) == learner


def test_loading_leaves_the_import_path_alone(file: Path) -> None:
    before = list(sys.path)
    load_learner(str(file))
    assert sys.path == before


def test_a_neighbour_is_imported_only_where_it_may(tmp_path: Path) -> None:
    write(tmp_path / "neighbour_model.py", "START = 3.0")
    file = write(tmp_path / "two.py", "from neighbour_model import START\n" + GOOD)
    with pytest.raises(LearnerImportError, match="neighbour_model lies beside it, but only a"):
        load_learner(str(file))
    load_learner(str(file), neighbours=True)
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_neighbour_never_hides_what_is_installed(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "raise SystemExit('the wrong json')")
    file = write(tmp_path / "two.py", "from json import loads\n" + GOOD)
    load_learner(str(file), neighbours=True)


def test_a_neighbour_with_the_name_of_something_installed_is_explained(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "START = 3.0")
    file = write(tmp_path / "two.py", "from json import START\n" + GOOD)
    with pytest.raises(LearnerImportError, match="another json comes before"):
        load_learner(str(file), neighbours=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LearnerFileError, match=r"absent\.py.*No such file"):
        load_learner(str(tmp_path / "absent.py"))


def test_a_folder_is_not_a_learner(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(LearnerFileError, match="is not a file"):
        load_learner(str(tmp_path / "folder.py"))


@pytest.mark.parametrize("spec", ["", "mean", "mean.txt:learner", "mean.py:", "mean.py:a b"])
def test_a_setting_of_another_form_is_refused(spec: str) -> None:
    with pytest.raises(LearnerSpecError, match=r'expected "path/file\.py:name"'):
        load_learner(spec)


def test_an_unknown_built_in_is_refused_with_those_there_are() -> None:
    with pytest.raises(LearnerSpecError, match=r"'digit'; there are: .*digits"):
        load_learner("fedmq:digit")


def test_a_missing_name_is_answered_with_those_there_are(file: Path) -> None:
    with pytest.raises(LearnerNameError, match=r"no name 'net'; it defines Mean, learner, other"):
        load_learner(f"{file}:net")


def test_something_else_than_a_learner_says_what_it_lacks(file: Path) -> None:
    message = "int has no initial_parameters and no train; a learner has initial_parameters()"
    with pytest.raises(NotALearnerError) as caught:
        load_learner(f"{file}:number")
    assert message in str(caught.value)


def test_a_half_written_learner_says_which_method_is_missing(tmp_path: Path) -> None:
    source = "class Half:\n    def initial_parameters(self):\n        return {}\n"
    file = write(tmp_path / "half.py", source)
    with pytest.raises(NotALearnerError, match=r"Half has no train; "):
        load_learner(f"{file}:Half")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import there_is_no_such_package", "ModuleNotFoundError: No module named"),
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_the_users_own_error_is_the_cause(tmp_path: Path, source: str, message: str) -> None:
    file = write(tmp_path / "bad.py", source)
    before = set(sys.modules)
    with pytest.raises(LearnerImportError, match=message) as caught:
        load_learner(str(file))
    assert caught.value.__cause__ is not None
    assert not [name for name in set(sys.modules) - before if name.startswith("_fedmq_learner_")]


def test_a_file_that_was_repaired_loads(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.py", "1 / 0")
    with pytest.raises(LearnerImportError):
        load_learner(str(file))
    write(file, GOOD)
    assert start_of(str(file)) == 0.0


def test_a_factory_that_raises_is_the_cause(file: Path) -> None:
    with pytest.raises(LearnerImportError, match="RuntimeError: no data today") as caught:
        load_learner(f"{file}:broken")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_of_ours_in_a_users_file_stays_itself(tmp_path: Path) -> None:
    source = "from learning.errors import MissingExtraError\nraise MissingExtraError('x', 'y')"
    file = write(tmp_path / "needs.py", source)
    with pytest.raises(MissingExtraError, match=r"x is not installed: pip install 'fedmq\[y\]'"):
        load_learner(str(file))


def test_every_refusal_is_a_learner_error() -> None:
    assert issubclass(LearnerLoadError, LearnerError)
    for kind in (
        LearnerSpecError,
        LearnerFileError,
        LearnerImportError,
        LearnerNameError,
        NotALearnerError,
    ):
        assert issubclass(kind, LearnerLoadError)


def test_importing_the_loader_brings_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, learning.loading, learning.errors;"
        "assert not {'numpy', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Find the learner that a setting names.

    "path/file.py:name"   the name in that file
    "path/file.py"        the name `learner` in that file
    "fedmq:digits"        a built-in

Rules:

- A file is loaded by its path under a private module name; `sys.path` is not touched, so no file of
  the user's can hide a package, nor a working directory decide what is imported.
- Only with `neighbours` (a training process) does the file's folder go to the *end* of `sys.path`,
  so that the learner may import what lies beside it.
- A file that has not changed is loaded once in a process; a factory is called each time.
- Nothing here imports numpy or torch: what the learner needs, it imports.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from learning.errors import (
    LearnerError,
    LearnerFileError,
    LearnerImportError,
    LearnerNameError,
    LearnerSpecError,
    NotALearnerError,
)
from schemas.digest import identify

if TYPE_CHECKING:
    from learning.learner import Learner

BUILT_INS = {"digits": "learning.digits", "fashion": "learning.fashion"}
"""Modules of the learners "fedmq:name"; each calls its learner `learner`."""

METHODS = {
    "initial_parameters": "initial_parameters()",
    "train": "train(parameters, request)",
}
"""What makes an object a learner, and how it is called."""

DEFAULT_NAME = "learner"


def load_learner(spec: str, *, neighbours: bool = False) -> Learner:
    """The learner that a setting names.

    The name may be a learner, or a class or function that gives one when called with no arguments.

    Args:
        spec: "path/file.py:name", "path/file.py" or "fedmq:name". A relative path starts at the
            working directory; "~" is the home folder.
        neighbours: Let the file import what lies beside it, for the rest of this process. For a
            process that only trains.

    Raises:
        LearnerLoadError: If there is no such file, built-in or name, if the file raises when it is
            imported (the user's error is the cause), or if what the name holds is not a learner.
    """
    place, name = _parse(spec)
    module = _built_in(place) if isinstance(place, str) else _import_file(place, neighbours)
    return _as_learner(_named(module, name, spec), spec)


def _parse(spec: str) -> tuple[Path | str, str]:
    """The file, or the module of a built-in, and the name in it."""
    if spec.startswith("fedmq:"):
        return spec.removeprefix("fedmq:"), DEFAULT_NAME
    if spec.endswith(".py"):
        return Path(spec).expanduser(), DEFAULT_NAME
    path, colon, name = spec.rpartition(":")
    if colon and path.endswith(".py") and name.isidentifier():
        return Path(path).expanduser(), name
    known = ", ".join(f'"fedmq:{built_in}"' for built_in in BUILT_INS)
    raise LearnerSpecError(
        f'learner: expected "path/file.py:name", "path/file.py" or one of {known}, came {spec!r}'
    )


def _built_in(name: str) -> ModuleType:
    if name not in BUILT_INS:
        raise LearnerSpecError(
            f"learner: no built-in is called {name!r}; there are: {', '.join(BUILT_INS)}"
        )
    return importlib.import_module(BUILT_INS[name])


def _import_file(path: Path, neighbours: bool) -> ModuleType:
    try:
        path = path.resolve()
        status = path.stat()
    except OSError as error:
        raise LearnerFileError(f"learner: cannot read {path}: {error.strerror}") from error
    if not path.is_file():
        raise LearnerFileError(f"learner: {path} is not a file")
    if neighbours and str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module_name = f"_fedmq_learner_{identify(str(path), status.st_mtime_ns, status.st_size)}"
    if module_name not in sys.modules:
        _execute(module_name, path, neighbours)
    return sys.modules[module_name]


def _execute(module_name: str, path: Path, neighbours: bool) -> None:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None, "a name that ends with .py always has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a class's module up by name, already while it is executed.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except LearnerError:
        del sys.modules[module_name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        hint = _import_hint(error, path.parent, neighbours)
        raise LearnerImportError(f"cannot import {path}: {_described(error)}{hint}") from error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _import_hint(error: BaseException, folder: Path, neighbours: bool) -> str:
    """What to do if the import that failed was meant for a file beside the learner."""
    if not isinstance(error, ImportError) or not error.name:
        return ""
    root = error.name.partition(".")[0]
    if not ((folder / f"{root}.py").exists() or (folder / root).is_dir()):
        return ""
    if not neighbours:
        return f" ({root} lies beside it, but only a training process imports neighbours)"
    return f" (another {root} comes before the one beside the learner: rename that)"


def _named(module: ModuleType, name: str, spec: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    names = [key for key in vars(module) if _could_be_meant(module, key)]
    there = ", ".join(names) or "nothing"
    raise LearnerNameError(f"{spec}: the file has no name {name!r}; it defines {there}")


def _could_be_meant(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    return getattr(value, "__module__", module.__name__) == module.__name__ or not _missing(value)


def _as_learner(found: Any, spec: str) -> Learner:
    is_factory = callable(found) and (isinstance(found, type) or _missing(found))
    learner = _called(found, spec) if is_factory else found
    missing = _missing(learner)
    if missing:
        raise NotALearnerError(
            f"{spec}: {type(learner).__name__} has no {' and no '.join(missing)}; "
            f"a learner has {' and '.join(METHODS.values())}"
        )
    return cast("Learner", learner)


def _called(factory: Any, spec: str) -> Any:
    try:
        return factory()
    except LearnerError:
        raise
    except Exception as error:
        raise LearnerImportError(
            f"{spec}: calling it with no arguments raised {_described(error)}"
        ) from error


def _missing(value: Any) -> list[str]:
    return [name for name in METHODS if not callable(getattr(value, name, None))]

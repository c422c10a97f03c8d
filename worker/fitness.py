"""Whether a task can be begun here, and on what the coordinator says of it. Pure."""

from __future__ import annotations

from broker.topology import PART_BYTES_MAX
from schemas.codecs.names import MODEL_CODECS, spec_of
from schemas.messages import Start, Task
from worker.options import Moment, Options


def unfit(task: Task, options: Options, moment: Moment) -> str:
    """Why a task is not to be begun, "" if it is."""
    if spec_of(task.codec) is None:
        return f"codec {task.codec} is not known here: upgrade this worker"
    if not options.part_bytes_min <= task.part_bytes <= PART_BYTES_MAX:
        return (
            f"expected parts of {options.part_bytes_min} to {PART_BYTES_MAX} bytes, "
            f"came {task.part_bytes}"
        )
    expired = (
        task.not_after is not None
        and moment.coordinator_s is not None
        and task.not_after < moment.coordinator_s
    )
    return "it is past its time" if expired else ""


def start_fault(task: Task, start: Start, options: Options) -> tuple[str, bool]:
    """Why a task cannot be begun on a start, "" if it can; whether that is so for good."""
    if (start.run_id, start.incarnation) != (task.run_id, task.incarnation):
        return (
            f"start for another run: expected {task.run_id:.8} incarnation {task.incarnation}, "
            f"came {start.run_id:.8} incarnation {start.incarnation}",
            False,
        )
    if task.base_version not in (None, start.base_version):
        came = f"came one for {start.base_version}"
        return f"expected a start for version {task.base_version}, {came}", False
    if start.model_digest is None or start.layout_digest is None or start.base_version < 0:
        return "expected a start that names a model, came one without", False
    if start.model_codec not in MODEL_CODECS:
        what = f"a model in codec {start.model_codec}"
        return f"{what} is not known here: upgrade this worker", False
    if start.model_bytes > options.max_model_bytes:
        what = f"model of {start.model_bytes} bytes"
        return f"{what}: {options.max_model_bytes} are allowed here", True
    if start.stored and not options.has_depot:
        return "the model lies in a depot: set depot.url here as the coordinator has it", True
    return "", False

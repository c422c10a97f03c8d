"""Beginning a run and going on with one: what is asked for, checked and refused."""

from __future__ import annotations

import numpy as np
import pytest

from broker.errors import BrokerUrlError
from coordinator.cohort import Cohort
from coordinator.errors import InUse, RunError, StoreError
from coordinator.models import to_safetensors
from coordinator.startup import Surroundings
from settings.errors import SettingsError
from tests.coordinator.world import LEARNER, MakeWorld


def test_the_same_command_goes_on_with_the_run(make_world: MakeWorld) -> None:
    world = make_world()
    run_id = world.service.run_id
    world.round(1.0, 1.0)
    world.restart()
    assert world.service.run_id == run_id
    assert not world.service.finished_before
    assert world.service.look().version == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rounds__part_bytes", 65 * 1024, "rounds.part_bytes: was 64KiB, now 65KiB"),
        ("run__seed", 7, "run.seed: was 0, now 7"),
        ("learner__config", '{"lr": 0.1}', "learner.config.lr: was not set, now 0.1"),
    ],
)
def test_a_setting_that_a_run_keeps_may_not_change(
    make_world: MakeWorld, name: str, value: object, said: str
) -> None:
    world = make_world()
    world.kill()
    world.change(**{name: value})
    with pytest.raises(RunError, match=said):
        world.make()
    world.begin(new_run=True)
    assert world.run_row().number == 2


def test_a_setting_that_may_change_does(make_world: MakeWorld) -> None:
    world = make_world()
    world.change(run__rounds=1, rounds__deadline="5s")
    world.restart()
    world.round(1.0, 1.0)
    assert world.state == "draining"


def test_one_process_at_a_time_has_a_folder(make_world: MakeWorld) -> None:
    world = make_world()
    with pytest.raises(InUse, match="another coordinator is running"):
        world.make()
    assert world.state == "collecting"
    world.kill()
    world.begin()


def test_a_goal_above_the_tasks_in_flight_is_refused(make_world: MakeWorld) -> None:
    with pytest.raises(SettingsError, match="can never be met"):
        make_world(rounds__goal=3, rounds__concurrency=2)


def test_a_goal_above_the_workers_ever_seen_is_warned_of(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    assert not caplog.records
    world.answer(world.somebody())
    world.restart()
    assert "only 1 workers were ever seen" in caplog.text


NAMES = [f"w{number}" for number in range(60)]
EVALUATORS = [name for name in NAMES if name in Cohort(0, 0.4)]
TRAINERS = [name for name in NAMES if name not in Cohort(0, 0.4)]


@pytest.mark.parametrize(
    ("trainers", "evaluators", "said"),
    [
        (1, 3, "rounds.goal is 2 and only 1 workers were ever seen that train"),
        (2, 1, "evaluation.goal is 2 and only 1 workers of the evaluation cohort were ever seen"),
        (2, 2, ""),
    ],
)
def test_a_cohort_that_leaves_too_few_to_train_or_to_evaluate_is_warned_of(
    make_world: MakeWorld,
    caplog: pytest.LogCaptureFixture,
    trainers: int,
    evaluators: int,
    said: str,
) -> None:
    world = make_world(evaluation__cohort=0.4, evaluation__goal=2)
    for name in (*TRAINERS[:trainers], *EVALUATORS[:evaluators]):
        world.worker(name).say_present()
        world.step()
    caplog.clear()
    world.restart()
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == bool(said)
    assert said in caplog.text


def test_a_folder_that_cannot_be_made_is_one_error(make_world: MakeWorld) -> None:
    world = make_world(begin=False)
    (world.folder / "state").write_text("a file")
    with pytest.raises(StoreError, match="state"):
        world.begin()


def test_a_store_that_is_garbage_is_one_error(make_world: MakeWorld) -> None:
    world = make_world()
    world.kill()
    world.close()
    (world.folder / "state" / "coordinator.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        world.make()


def test_a_transport_that_cannot_be_made_leaves_nothing_open(make_world: MakeWorld) -> None:
    from coordinator.service import CoordinatorService

    world = make_world()
    world.kill()

    def refuse(post: object) -> object:
        raise BrokerUrlError("no such broker")

    with pytest.raises(BrokerUrlError):
        CoordinatorService(world.settings(), refuse, clock=world.clock)  # type: ignore[arg-type]
    world.begin()
    assert world.state == "collecting"


# the initial model


def test_a_run_begins_with_the_learners_own_parameters(make_world: MakeWorld) -> None:
    world = make_world()
    assert world.weight(0) == 1.0
    assert world.version_row(0).why == "initial"


def test_a_run_begins_with_a_file(make_world: MakeWorld) -> None:
    world = make_world()
    layout = world.layout
    world.kill()
    file = world.folder / "begin.safetensors"
    model = bytearray(world.model(0))
    model[layout.segments[1].offset :] = np.full(6, 7.0, "<f4").tobytes()
    file.write_bytes(to_safetensors(model, layout))
    world.change(run__initial=str(file))
    world.begin(new_run=True)
    assert world.weight(0) == 7.0


def test_a_run_begins_where_an_earlier_one_ended(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    world.change(run__initial=f"run:{world.run_row().run_id[:8]}")
    world.restart(new_run=True)
    assert (world.version, world.weight()) == (0, 2.0)


def test_a_run_does_not_begin_with_a_damaged_version(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    path = world.folder / "state" / "models" / world.version_row(1).file
    whole = path.read_bytes()
    world.change(run__initial=f"run:{world.run_row().run_id[:8]}")
    world.kill()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RunError, match=r"run\.initial: .*000001\.safetensors is damaged"):
        world.begin(new_run=True)


def test_a_first_run_cannot_begin_with_an_earlier_one(make_world: MakeWorld) -> None:
    world = make_world(begin=False, run__initial="run:abc")
    with pytest.raises(RunError, match="came 'run:abc': no run was ever begun"):
        world.begin()


def test_a_state_folder_that_is_a_file_is_one_error(make_world: MakeWorld) -> None:
    world = make_world(begin=False)
    (world.folder / "state").touch()
    with pytest.raises(StoreError, match=r"coordinator\.state_dir: expected a folder, .*/state is"):
        world.begin()


@pytest.mark.parametrize("initial", ["run:ffffffff", "nowhere.safetensors", "broken.safetensors"])
def test_an_initial_model_that_is_none_is_one_error(make_world: MakeWorld, initial: str) -> None:
    world = make_world()
    world.kill()
    if not initial.startswith("run:"):
        initial = str(world.folder / initial)
        (world.folder / "broken.safetensors").write_bytes(b"broken")
    world.change(run__initial=initial)
    with pytest.raises(RunError, match=r"run\.initial"):
        world.begin(new_run=True)
    world.change(run__initial="learner")
    world.begin()
    assert world.run_row().number == 1


def test_a_run_does_not_begin_with_numbers_that_no_training_mends(make_world: MakeWorld) -> None:
    world = make_world(begin=False, around=Surroundings())
    world.learner(LEARNER.replace("SIZE", "3").replace("np.ones(", "np.nan * np.ones("))
    with pytest.raises(RunError, match="holds NaN or infinity"):
        world.begin()
    world.learner(LEARNER.replace("SIZE", "3"))
    world.begin()
    assert world.run_row().number == 1


LEARNERS = {
    "it raises": "raise ValueError('no data here')",
    "it ends its process": "import os; os._exit(7)",
    "it is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "it is no Python": "this is not Python",
    "it has no parameters": "learner = object()",
}


@pytest.mark.parametrize("how", LEARNERS)
def test_a_learner_without_initial_parameters_is_one_error(
    make_world: MakeWorld, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    world = make_world(begin=False, around=Surroundings())
    world.learner(LEARNERS[how])
    with pytest.raises(RunError, match="the learner gives no initial parameters") as caught:
        world.begin()
    assert "\n" not in str(caught.value)
    world.learner(LEARNER.replace("SIZE", "3"))
    world.begin()
    assert world.version == 0
    capfd.readouterr()


# models that were damaged


def test_a_model_file_that_is_damaged_is_one_error(make_world: MakeWorld) -> None:
    world = make_world()
    path = world.folder / "state" / "models" / world.version_row(0).file
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")
    world.kill()
    with pytest.raises(StoreError, match="damaged"):
        world.begin()


def test_a_spool_that_is_damaged_is_one_error(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(1.0)
    (segment,) = (world.folder / "state" / "spool").glob("0*.seg")
    world.kill()
    whole = segment.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"\x99", b"\x00" * len(whole)):
        segment.write_bytes(damaged)
        with pytest.raises(StoreError):
            world.begin()
    segment.write_bytes(whole)
    world.begin()
    world.round(3.0)
    assert world.weight() == 3.0


def test_an_update_of_more_parts_than_can_be_kept_is_refused_at_the_start(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.startup.PARTS_MAX", 3)
    with pytest.raises(RunError, match=r"4 parts of rounds\.part_bytes, at most 3"):
        make_world(size=30_000)


@pytest.mark.parametrize("empty", [True, False])
def test_where_a_run_was_none_begins_because_its_store_is_gone(
    make_world: MakeWorld, empty: bool
) -> None:
    world = make_world()
    world.answer(world.worker("a"), 1.0)
    world.kill()
    state = world.folder / "state"
    for path in state.glob("coordinator.db*"):
        path.unlink()
    if empty:
        (state / "coordinator.db").touch()
    with pytest.raises(StoreError, match=r"is gone, and models and spool of a run are there: .*"):
        world.make()
    for name in ("models", "spool"):
        (state / name).rename(state / f"{name}.old")
    world.begin()
    assert world.run_row().number == 1

"""The tables of the coordinator's store.

| table | a row is | written |
|---|---|---|
| store | the store itself: schema version, incarnation, epoch | at creation, at each start |
| runs | a run and the state of its open round | with each step of the machine |
| versions | a model version: digest, file, how its round went | when its file is on disk |
| cached | the last update of a worker as of a version: its slot | with that version |
| evaluations | what the cohort, or the coordinator, found of a version | from its opening on |
| courses | what follows: a run's best version, going back, stopping | with what was found |
| tasks | a task, from offer to end | before it is published |
| ledger | an update: its one verdict, its place in the spool | before its delivery is acked |
| strays | bytes that could not take an update id, by their digest | before they are acked |
| dropped | how many rows of other tables gave way to newer ones | in the same transaction |
| parked | a message the broker gave up on: how often it was tried | before it is decoded |
| workers | a worker that was seen, and how its last tasks went | with what it said or did |

Times are UTC seconds of the coordinator's clock. `shard`, `epoch` and `incarnation` are for several
processes (one today), so that rows written now can be read then.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 7

metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("schema_version", Integer, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("seen_incarnation", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("federation", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("goal", Integer, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("policy", JSON, nullable=False),
    Column("layout", JSON, nullable=False),
    Column("layout_digest", String, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("deadline_at", Float, nullable=False),
    Column("tries_after", Integer, nullable=False),
    Column("extensions", Integer, nullable=False),
    Column("until", Float, nullable=False),
    Column("why", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ran_s", Float, nullable=False),
    Column("ended_at", Float),
)

versions = Table(
    "versions",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("file", String, nullable=False),
    Column("stream_offset", Integer),
    Column("counted", Integer, nullable=False),
    Column("weight", Float, nullable=False),
    Column("why", String, nullable=False),
    Column("policy", JSON, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("state_file", String, nullable=False),
    Column("state_digest", String, nullable=False),
    Column("cached", Integer, nullable=False),
    Column("participation", JSON, nullable=False),
    Column("rolled_back_to", Integer, nullable=False),
    Column("guard", String, nullable=False),
    Column("norm", Float),
    Column("stream_codec", String, nullable=False),
    Column("coded_digest", String, nullable=False),
    Column("coded_bytes", Integer, nullable=False),
)

cached = Table(
    "cached",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("worker_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("base_version", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("scale", Float, nullable=False),
    Column("examples", Float, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("by", String, primary_key=True),
    Column("opened_at", Float, nullable=False),
    Column("deadline_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("why", String, nullable=False),
    Column("current", Integer, nullable=False),
    Column("answers", Integer, nullable=False),
    Column("examples", Float, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("conclusive", Boolean, nullable=False),
    Column("decision", String, nullable=False),
    Column("reason", String, nullable=False),
)

courses = Table(
    "courses",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("best_version", Integer, nullable=False),
    Column("roll_back_to", Integer, nullable=False),
    Column("roll_back_why", String, nullable=False),
    Column("stop_why", String, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("state", String, nullable=False),
    Column("direct", Boolean, nullable=False),
    Column("offered_version", Integer, nullable=False),
    Column("base_version", Integer),
    Column("worker_id", String, nullable=False),
    Column("replaces", String, nullable=False),
    Column("replaced", Boolean, nullable=False),
    Column("published", Boolean, nullable=False),
    Column("offered_at", Float, nullable=False),
    Column("taken_at", Float),
    Column("lease_end", Float),
    Column("ended_at", Float),
    Column("reason", String, nullable=False),
    Column("on_its_way", String, nullable=False),
    UniqueConstraint("run_id", "kind", "number"),
    Index("open_tasks", "run_id", "state"),
    Index("tasks_of_worker", "worker_id", "run_id", "base_version"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("arrival", Integer, primary_key=True, autoincrement=True),
    Column("update_id", String, nullable=False, unique=True),
    Column("run_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("task_id", String, nullable=False),
    Column("worker_id", String, nullable=False),
    Column("base_version", Integer, nullable=False),
    Column("base_digest", String, nullable=False),
    Column("payload_digest", String, nullable=False),
    Column("num_examples", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("train_s", Float, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("round_version", Integer, nullable=False),
    Column("staleness", Integer, nullable=False),
    Column("weight", Float, nullable=False),
    Column("full_weight", Float, nullable=False),
    Column("local_steps", Float, nullable=False),
    Column("copies", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("segment", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    Index("by_round", "run_id", "round_version", "verdict"),
    Index("by_worker", "worker_id", "run_id", "base_version"),
    Index(
        "counts_once",
        "run_id",
        "kind",
        "base_version",
        "worker_id",
        unique=True,
        sqlite_where=text("verdict = 'counted'"),
        postgresql_where=text("verdict = 'counted'"),
    ),
    sqlite_autoincrement=True,
)

strays = Table(
    "strays",
    metadata,
    Column("digest", String, primary_key=True),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("claims", JSON, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("copies", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("accepted_at", Float),
    Index("strays_by_size", "num_bytes"),
)

dropped = Table(
    "dropped",
    metadata,
    Column("kind", String, primary_key=True),
    Column("about", String, primary_key=True),
    Column("rows", Integer, nullable=False),
)

parked = Table(
    "parked",
    metadata,
    Column("digest", String, primary_key=True),
    Column("attempts", Integer, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("leaving", Boolean, nullable=False),
    Column("address", String, nullable=False),
    Column("correlation_id", String, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("capabilities", String, nullable=False),
    Column("battery", Float, nullable=False),
    Column("metered", Boolean, nullable=False),
    Column("clock_offset", Integer, nullable=False),
    Column("hours", String, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("train_s", Float, nullable=False),
    Column("loss", Float),
    Column("rest_until", Float, nullable=False),
    Column("unheard", Integer, nullable=False),
)

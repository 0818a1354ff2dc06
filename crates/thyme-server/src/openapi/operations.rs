//! The endpoints, one after the other.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::parameters::{
    FEATURES, LIMIT, META, MIN_POSITION, POSITION, Param, Shape, TIMESTAMP, TS, WAIT_MS,
};
use super::{Arrow, Body, Operation, shapes};
use crate::commits::{AUTHOR_MAX, MESSAGE_MAX};
use crate::{
    access, audit, backups, batch, commits, erasure, left_out, multi, names, pending, population, reads,
    writes,
};

fn of<T: JsonSchema>(shapes: &mut SchemaGenerator) -> Schema {
    shapes.subschema_for::<T>()
}

const fn text(name: &'static str, about: &'static str) -> Param {
    Param::new(name, Shape::Text, about)
}

const fn flag(name: &'static str, about: &'static str) -> Param {
    Param::new(name, Shape::Flag, about)
}

const DATASET: Param = text("dataset", "The dataset's name.").required();
const BEFORE: Param =
    Param::new("before", Shape::Position, "Only those before: `next` of an earlier answer.");
const AUTHOR: Param = Param::new("author", Shape::Short(AUTHOR_MAX), "Who commits.");
const MESSAGE: Param = Param::new("message", Shape::Short(MESSAGE_MAX), "Why.");

pub(crate) const GET_FEATURES: Operation = Operation {
    has_more: true,
    ..Operation::new(
        "Features of an entity; with entity_type instead of featureset a dataset's row. The key may also be given by the names of its fields.",
        &[
            text("featureset", "The featureset's name."),
            text("entity_type", "The name of a dataset to look a row up in."),
            text("entity_id", "The key; k1=v1,k2=v2 for a composite one."),
            FEATURES,
            Param::new("missing", Shape::OneOf(&["null", "values"]), "What a lookup gives for an entity without events."),
            TIMESTAMP,
            TS,
            MIN_POSITION,
            POSITION,
            WAIT_MS,
            META,
        ],
    )
    .gives("Features")
};
pub(crate) const POST_FEATURES: Operation =
    Operation::new("Features of an entity, with request features.", &[META])
        .takes(Body::Json(of::<reads::FeaturesBody>))
        .gives("Features");
pub(crate) const BATCH: Operation = Operation::new("Features of many entities at one position.", &[META])
    .takes(Body::Json(of::<batch::BatchBody>))
    .gives("Batch")
    .in_arrow(Arrow::WhenAccepted);
pub(crate) const MULTI: Operation =
    Operation::new("Features of several featuresets and their entities, all at one position.", &[META])
        .takes(Body::Json(of::<multi::MultiBody>))
        .gives("Multi")
        .in_arrow(Arrow::WhenAccepted);
pub(crate) const OFFLINE: Operation = Operation::new(
    "A training set: features of entities at given times. The parameters are for Arrow and Parquet bodies; JSON says everything itself.",
    &[
        text("featureset", "The featureset's name."),
        FEATURES,
        text("timestamp_column", "The column with the times."),
        Param::new("entity_column", Shape::Names, "The columns of the key, if they are not called as its fields are."),
        flag("as_served", "Each row as an online read at its time saw it."),
        MIN_POSITION,
        POSITION,
        WAIT_MS,
        META,
    ],
)
.takes(Body::Frame(of::<reads::OfflineBody>))
.gives("Offline")
.in_arrow(Arrow::WhenSent);
pub(crate) const SCAN: Operation = Operation::new(
    "All entities of a derived dataset that have events.",
    &[DATASET, TIMESTAMP, TS, MIN_POSITION, POSITION, WAIT_MS],
)
.in_arrow(Arrow::Always);
pub(crate) const COMMIT: Operation = Operation::new(
    "Commits definitions, all or none.",
    &[
        flag("dry_run", "A plan only."),
        flag("wait_sources", "Answers once new sources have read what is there."),
        flag("wait", "False: does not wait until new pipelines are filled; the commit is pending then."),
        text("base", "Only over this commit; `none` is over nothing."),
        AUTHOR,
        MESSAGE,
    ],
)
.takes(Body::Json(shapes::definitions))
.gives("Commit");
pub(crate) const CANCEL: Operation = Operation::new("Gives up the commit that is pending.", &[])
    .takes(Body::Json(of::<pending::CancelBody>))
    .gives("Cancelled");
pub(crate) const ROLLBACK: Operation = Operation::new(
    "Makes the definitions of an earlier commit hold again, as a new commit.",
    &[AUTHOR, MESSAGE],
)
.takes(Body::Json(of::<commits::RollbackBody>))
.gives("Commit");
pub(crate) const PLAN: Operation =
    Operation::new("What a commit would change, without doing it.", COMMIT.parameters)
        .takes(Body::Json(shapes::planned))
        .gives("Commit");
pub(crate) const HISTORY: Operation = Operation::new(
    "The commits, newest first, or one of them, whole.",
    &[
        LIMIT,
        text("before", "Only those before this commit: `next` of an earlier answer."),
        text("commit", "One commit: its id, the beginning of it, or `latest`."),
    ],
)
.gives("History");
pub(crate) const DIFF: Operation = Operation::new(
    "What one commit has otherwise than another.",
    &[
        text("from", "A commit; the parent of `to` if it is left out, `none` is nothing at all."),
        text("to", "A commit; the latest if it is left out, `none` is nothing at all."),
    ],
)
.gives("Diff");
pub(crate) const RETIRE: Operation =
    Operation::new("Ends an old name of a feature, or a version of a dataset.", &[AUTHOR, MESSAGE])
        .takes(Body::Json(of::<names::RetireBody>))
        .gives("Retired");
pub(crate) const LOG: Operation = Operation::new(
    "Pushes events; answered once they are on durable storage.",
    &[text("dataset", "Whose rows they are; JSON bodies may say it themselves.")],
)
.takes(Body::Rows(of::<writes::LogShape>))
.gives("Pushed");
pub(crate) const BACKUP: Operation =
    Operation::new("Backs up into a directory of the server's machine.", &[])
        .takes(Body::Json(of::<backups::BackupBody>))
        .gives("Backup");
pub(crate) const ERASE: Operation = Operation::new("Erases entities for good.", &[])
    .takes(Body::Json(of::<erasure::EraseBody>))
    .gives("Erased");
pub(crate) const STATUS: Operation =
    Operation::new("Health, positions, datasets, sources, memory.", &[]).gives("Status");
pub(crate) const JOBS: Operation = Operation::new("What runs in the background.", &[]).gives("Jobs");
const JOB: Param = text("id", "The job's id.").required();
const MORE: Param = flag("more", "More labels follow; without it, these are the last.");
const PART: Param = Param::new("part", Shape::Count(0, u32::MAX as u64), "Which part, from 0.").required();

pub(crate) const JOB_BEGIN: Operation = Operation::new(
    "Begins a training set that the server computes by itself; answers its id. The labels, or the first of them, are the body.",
    &[
        text("featureset", "The featureset's name.").required(),
        FEATURES,
        text("timestamp_column", "The column with the times.").required(),
        Param::new("entity_column", Shape::Names, "The columns of the key, if they are not called as its fields are."),
        flag("as_served", "Each row as an online read at its time saw it."),
        MORE,
        MIN_POSITION,
        POSITION,
        WAIT_MS,
        META,
    ],
)
.takes(Body::Table)
.gives("OfflineJob");
pub(crate) const JOB_PART: Operation =
    Operation::new("Adds labels to a job; a part that is there already changes nothing.", &[JOB, PART, MORE])
        .takes(Body::Table)
        .gives("OfflineJob");
pub(crate) const JOB_SHOW: Operation = Operation::new(
    "How far a job is; without an id, all of them, the oldest first.",
    &[text("id", "The job's id.")],
)
.gives("OfflineJobs");
pub(crate) const JOB_RESULT: Operation =
    Operation::new("The labels of a part with their features.", &[JOB, PART]).in_arrow(Arrow::Always);
pub(crate) const JOB_CANCEL: Operation =
    Operation::new("Ends a job, whatever it is at, and removes all of it.", &[JOB]).gives("OfflineCancelled");
pub(crate) const EVENTS: Operation = Operation::new(
    "What happened, newest first.",
    &[
        LIMIT,
        Param::new("severity", Shape::OneOf(&["info", "warning", "error"]), "Only of this severity."),
        text("event_type", "Only of this type."),
        text("subject", "Only about this."),
        text("by", "Only what this caller did: `key 3f9a01c2`, or `anonymous`."),
    ],
)
.gives("Events");
pub(crate) const LATE: Operation = Operation::new(
    "The late events of a dataset, newest first.",
    &[
        DATASET,
        LIMIT,
        BEFORE,
        Param::new("since", Shape::Time, "Only those that arrived at this time or later."),
    ],
)
.gives("Late");
pub(crate) const DUPLICATES: Operation = Operation::new(
    "The events of a dataset whose ids were there already, newest first.",
    &[
        DATASET,
        LIMIT,
        BEFORE,
        Param::new("since", Shape::Time, "Only those that arrived at this time or later."),
    ],
)
.gives("Duplicates");
pub(crate) const ROWS: Operation = Operation::new(
    "The rows of a raw dataset as the log has them, with positions, stamps and verdicts; a page.",
    &[
        DATASET,
        Param::new("after", Shape::Time, "Only those of later event times."),
        Param::new("until", Shape::Position, "Only those up to here: `until` of an earlier page."),
        text("sample", "Of this part of the entities, by the hash of their key: a number up to 1."),
        text("next", "Where the page begins: `next` of an earlier one."),
    ],
)
.in_arrow(Arrow::Always);
pub(crate) const ENTITIES: Operation = Operation::new(
    "The keys of a featureset's entities, in their order; a page.",
    &[
        text("featureset", "The featureset's name.").required(),
        Param::new(
            "from",
            Shape::Time,
            "Those with an event that counts as of some time from here on; now if it is left out.",
        ),
        Param::new("limit", Shape::Count(1, population::LIMIT_MAX as u64), "The most keys of a page."),
        text("next", "Where the page begins: `next` of an earlier one."),
        MIN_POSITION,
        POSITION,
        WAIT_MS,
    ],
)
.in_arrow(Arrow::Always);
pub(crate) const DEAD_LETTERS: Operation = Operation::new(
    "The records of a dataset that could not become rows, newest first.",
    &[DATASET, LIMIT, BEFORE, flag("all", "Also those that were replayed.")],
)
.gives("DeadLetters");
pub(crate) const REPLAY: Operation = Operation::new("Reads a dataset's dead letters again.", &[])
    .takes(Body::Json(of::<left_out::ReplayBody>))
    .gives("Replayed");
pub(crate) const FEATURESETS: Operation =
    Operation::new("The committed definitions.", &[]).gives("Definitions");
pub(crate) const VERIFY: Operation =
    Operation::new("Recomputes sampled values from the log and compares bits.", &[])
        .takes(Body::Optional(of::<audit::VerifyBody>))
        .gives("Verified");
pub(crate) const EXPLAIN: Operation = Operation::new(
    "A value with the events behind it.",
    &[
        text("featureset", "The featureset's name, with `feature`."),
        text("feature", "The feature, by name or id."),
        text("dataset", "The dataset's name, with `field`, instead."),
        text("field", "The field."),
        text("entity_id", "The key; k1=v1,k2=v2 for a composite one.").required(),
        Param::new("limit", Shape::Count(0, audit::LIMIT_MAX), "The most events of a kind that are shown."),
        Param::new("inputs", Shape::Object, "Request features."),
        TIMESTAMP,
        TS,
        MIN_POSITION,
        POSITION,
        WAIT_MS,
    ],
)
.gives("Explanation");
pub(crate) const QUERY_RUNS: Operation = Operation::new(
    "The queries that were answered, newest first.",
    &[
        LIMIT,
        text("before", "Only those before this: `next` of an earlier answer."),
        text("featureset", "Only of this featureset."),
        text("dataset", "Only look-ups of this dataset's rows."),
        text("entity_id", "Only those that asked for this entity; k1=v1,k2=v2 for a composite one."),
        text("caller", "Only of this caller: `key 3f9a01c2`, its id alone, or `anonymous`."),
        Param::new("since", Shape::Time, "Only those answered at this time or later."),
        Param::new("until", Shape::Time, "Only those answered at this time or earlier."),
    ],
)
.gives("QueryRuns");
pub(crate) const QUERY_RUN: Operation = Operation::new("One query that was answered.", &[]).gives("QueryRun");
pub(crate) const REPLAY_RUN: Operation =
    Operation::new("Computes a query again at its own (T, S), and compares the bits.", &[])
        .gives("RunReplay");
pub(crate) const KEYS: Operation =
    Operation::new("The API keys, newest first, without what would open anything.", &[]).gives("Keys");
pub(crate) const CREATE_KEY: Operation =
    Operation::new("Makes an API key, whose text is in this answer and nowhere else.", &[])
        .takes(Body::Json(of::<access::CreateBody>))
        .gives("MadeKey");
pub(crate) const REVOKE_KEY: Operation =
    Operation::new("Revokes an API key: it opens nothing from now on.", &[])
        .takes(Body::Json(of::<access::RevokeBody>))
        .gives("Key");
pub(crate) const DESCRIPTION: Operation = Operation::new("This description.", &[]).gives("Any");
pub(crate) const HEALTH: Operation = Operation::new("Whether reads and writes work.", &[]).gives("Health");
pub(crate) const METRICS: Operation = Operation::new("What is counted and measured, for Prometheus.", &[]);

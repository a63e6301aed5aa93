//! Pieces of schema that derives cannot say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A Kubernetes quantity, written as text or as a plain number.
pub fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        "description": "A Kubernetes quantity, such as 500m or 1Gi.",
    })
}

/// The address of a folder that holds a table: of a store that tables are read from, or on a mounted volume.
pub(crate) const TABLE_URI: &str = "^((s3|s3a|gs|az|abfs|abfss)://[^/ ]+(/[^ ]*)?|file:///[^ ]+)$";

/// When a CronJob runs: five fields, or a word such as `@hourly`.
pub(crate) const SCHEDULE: &str = "^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|([^ ]+ +){4}[^ ]+)$";

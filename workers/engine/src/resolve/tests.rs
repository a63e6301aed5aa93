#![allow(clippy::panic, clippy::unwrap_used)]
use super::*;
use crate::definition::FeatureDefinition;
use crate::plan::{FeatureSource, Mode, Stream, Table, TableFormat, TimestampField, TimestampUnit, Window};
use crate::program::Program;

fn column(name: &str, type_name: &str) -> ColumnDefinition {
    ColumnDefinition { name: name.into(), type_name: type_name.into(), ..Default::default() }
}

fn feature(name: &str, change: impl FnOnce(&mut FeatureDefinition)) -> FeatureDefinition {
    let mut f = FeatureDefinition { name: name.into(), ..Default::default() };
    change(&mut f);
    f
}

fn count(name: &str, window: &str) -> FeatureDefinition {
    feature(name, |f| {
        f.aggregate = Some("Count".into());
        f.condition = Some("event_type = 'click'".into());
        f.window = Some(window.into());
    })
}

fn expression(name: &str, sql: &str) -> FeatureDefinition {
    feature(name, |f| f.expression = Some(sql.into()))
}

fn stream(topic: &str, epoch: u32) -> Stream {
    Stream { topic: topic.into(), epoch }
}

fn table(uri: &str) -> Table {
    Table { uri: uri.into(), format: TableFormat::Delta }
}

fn definition() -> ViewDefinition {
    ViewDefinition {
        view: ViewIdentity { uid: "0-1".into(), namespace: "shop".into(), name: "clicks".into() },
        mode: "Kappa".into(),
        entity_keys: vec!["user_id".into()],
        stream: Some(Stream { topic: "clickstream".into(), epoch: 0 }),
        table: None,
        archive: false,
        timestamp: TimestampField { field: "event_ts".into(), unit: TimestampUnit::Milliseconds },
        schema: vec![column("user_id", "String"), column("event_type", "String"), column("price", "Double")],
        allowed_lateness: "4h".into(),
        max_future: "5m".into(),
        horizon_max_age: None,
        features: vec![
            count("clicks_1h", "1h"),
            count("clicks_24h", "24h"),
            feature("spend_30d", |f| {
                f.aggregate = Some("Sum".into());
                f.of = Some("price".into());
                f.window = Some("30d".into());
            }),
            expression("velocity", "clicks_1h / nullif(clicks_24h, 0)"),
        ],
    }
}

/// The errors of the definition after `change`, each as `field: message`.
fn errors(change: impl FnOnce(&mut ViewDefinition)) -> Vec<String> {
    let mut d = definition();
    change(&mut d);
    resolve(&d).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn features_that_differ_in_window_alone_share_an_aggregate() {
    let plan = resolve(&definition()).unwrap();
    assert_eq!(plan.aggregates.len(), 2);
    assert_eq!(plan.conditions, ["event_type = 'click'"]);
    assert_eq!(plan.time.finest_tile_ms, 60_000);
    let FeatureSource::Window { aggregate: 0, window } = plan.features[1].source else { panic!("a window") };
    assert_eq!(window, Window::Sliding { length_ms: 86_400_000, hop_ms: 900_000 });
    assert_eq!(
        plan.features[3].source,
        FeatureSource::Expression { sql: "clicks_1h / nullif(clicks_24h, 0)".into(), reads: vec![0, 1] }
    );
    assert_eq!(plan.time.retention_ms, Some(30 * 86_400_000 + 6 * 3_600_000 + 4 * 3_600_000 + 300_000));
    Program::new(plan.into()).unwrap();
}

#[test]
fn a_lifetime_feature_is_kept_for_ever() {
    let mut d = definition();
    d.features.push(feature("ever", |f| f.aggregate = Some("Count".into())));
    let plan = resolve(&d).unwrap();
    assert_eq!(plan.time.retention_ms, None);
    assert!(plan.aggregates[2].ladder.forever);
}

#[test]
fn the_revision_follows_what_changes_a_value_and_nothing_else() {
    let base = resolve(&definition()).unwrap();
    let revision = |change: fn(&mut ViewDefinition)| {
        let mut d = definition();
        change(&mut d);
        resolve(&d).unwrap().revision
    };
    assert_eq!(base.revision.len(), 10);
    assert_eq!(revision(|d| d.view.uid = "other".into()), base.revision);
    for change in [
        (|d: &mut ViewDefinition| d.stream = Some(stream("clickstream", 1))) as fn(&mut ViewDefinition),
        |d| d.mode = "Lakehouse".into(),
        |d| (d.mode, d.archive) = ("Lambda".into(), true),
        |d| (d.mode, d.table) = ("Batch".into(), Some(table("s3://a/b"))),
        |d| d.stream = Some(stream("t", 0)),
        |d| d.allowed_lateness = "5h".into(),
        |d| d.features[0].window = Some("2h".into()),
        |d| d.features[0].condition = None,
        |d| d.features[3].expression = Some("clicks_1h".into()),
        |d| d.features[0].name = "x".into(),
        |d| d.schema.push(column("more", "Int64")),
        |d| d.timestamp.unit = TimestampUnit::Seconds,
    ] {
        let mut d = definition();
        change(&mut d);
        // Renaming a feature that another reads is an error and so no revision at all.
        if let Ok(plan) = resolve(&d) {
            assert_ne!(plan.revision, base.revision);
        }
    }
}

#[test]
fn a_plan_holds_what_its_mode_reads_and_nothing_else() {
    let of = |mode: &str, archive| {
        let mut d = definition();
        (d.mode, d.archive, d.table) = (mode.into(), archive, Some(table("s3://a/b")));
        resolve(&d).unwrap()
    };
    let parts = |plan: &Plan| (plan.mode, plan.source.stream.is_some(), plan.source.table.is_some());
    assert_eq!(parts(&of("Kappa", false)), (Mode::Kappa, true, false));
    assert_eq!(parts(&of("Batch", false)), (Mode::Batch, false, true));
    assert_eq!(parts(&of("Lambda", false)), (Mode::Lambda, true, true));
    assert_eq!(parts(&of("Streamhouse", false)), (Mode::Lakehouse, true, false));
    assert_eq!(of("Streamhouse", false), of("Lakehouse", true));
    // A table that Kappa does not read changes nothing.
    assert_eq!(of("Kappa", false), resolve(&definition()).unwrap());
    let archived = |mode: &str| {
        let mut d = definition();
        (d.mode, d.archive) = (mode.into(), true);
        resolve(&d).unwrap()
    };
    assert_eq!(parts(&archived("Batch")), (Mode::Batch, true, false));
    assert_eq!(parts(&archived("Lambda")), (Mode::Lambda, true, false));
}

#[test]
fn the_horizons_age_changes_the_ladders_of_a_lambda_with_lifetime_features_alone() {
    let of = |mode: &str, age: Option<&str>| {
        let mut d = definition();
        (d.mode, d.archive, d.horizon_max_age) = (mode.into(), true, age.map(Into::into));
        d.features.push(feature("ever", |f| f.aggregate = Some("Count".into())));
        resolve(&d).unwrap()
    };
    assert_eq!(of("Kappa", None), of("Kappa", Some("90d")));
    assert_eq!(of("Lambda", None), of("Lambda", Some("7d")));
    assert_ne!(of("Lambda", None).revision, of("Lambda", Some("90d")).revision);
    let last = |plan: &Plan| *plan.aggregates[2].ladder.rungs.last().unwrap();
    let age = 7 * 86_400_000 + 4 * 3_600_000 + 300_000 + 6 * 3_600_000;
    assert_eq!(last(&of("Lambda", None)), crate::plan::Rung { tile_ms: 6 * 3_600_000, keep_ms: age });
}

#[test]
fn a_plan_survives_its_json() {
    let plan = resolve(&definition()).unwrap();
    let back: Plan = serde_json::from_str(&plan.to_json()).unwrap();
    assert_eq!(back, plan);
    assert_eq!(back.hash(), plan.hash());
}

#[test]
fn every_error_names_its_field() {
    type Case = (fn(&mut ViewDefinition), &'static str, &'static str);
    let cases: [Case; 30] = [
        (|d| d.features.clear(), "spec.features", "at least one"),
        (|d| d.features[0].condition = Some("nosuch = 1".into()), "spec.features[0].where", "nosuch"),
        (|d| d.features[0].condition = Some("price".into()), "spec.features[0].where", "true or false"),
        (|d| d.features[2].of = Some("event_type".into()), "spec.features[2].of", "needs a number"),
        (|d| d.features[2].of = None, "spec.features[2].of", "needs `of`"),
        (|d| d.features[2].of = Some("price - event_type - 'x'::bytea".into()), "spec.features[2].of", "price"),
        (|d| d.features[0].window = Some("1w".into()), "spec.features[0].window", "no duration"),
        (|d| d.features[0].window = Some("0s".into()), "spec.features[0].window", "longer than 0"),
        (|d| d.features[0].window = Some("30s".into()), "spec.features[0].hop", "hop given"),
        (|d| d.features[0].hop = Some("2m".into()), "spec.features[0].hop", "ladder"),
        (|d| d.features[0].hop = Some("6h".into()), "spec.features[0].hop", "longer than the window"),
        (|d| d.features[1].name = "clicks_1h".into(), "spec.features[1].name", "taken by spec.features[0]"),
        (
            |d| d.features[3].expression = Some("nosuch + 1".into()),
            "spec.features[3].expression",
            "no feature of this view",
        ),
        (
            |d| d.features[3].expression = Some("velocity + 1".into()),
            "spec.features[3].expression",
            "velocity → velocity",
        ),
        (|d| d.features[3].window = Some("1h".into()), "spec.features[3].window", "other features"),
        (|d| d.features[0].aggregate = Some("Percentile".into()), "spec.features[0].percentile", "needs a percentile"),
        (|d| d.features[0].aggregate = Some("LastK".into()), "spec.features[0].k", "needs k"),
        (|d| d.entity_keys = vec!["nosuch".into()], "spec.entity.keys[0]", "not among"),
        (|d| d.entity_keys = vec!["price".into()], "spec.entity.keys[0]", "cannot identify"),
        (|d| d.schema[0].type_name = "Text".into(), "spec.source.schema[0].type", "no type"),
        (|d| d.allowed_lateness = "soon".into(), "spec.allowedLateness", "no duration"),
        (|d| d.mode = "Gamma".into(), "architecture.spec.mode", "no mode"),
        (|d| d.stream = None, "spec.source.topic", "events come from"),
        (|d| d.stream = Some(stream("", 0)), "spec.source.topic", "must not be empty"),
        (|d| (d.mode, d.stream) = ("Lakehouse".into(), None), "spec.source.topic", "fills the tables"),
        (|d| (d.mode, d.archive, d.stream) = ("Lambda".into(), true, None), "spec.source.topic", "after the horizon"),
        (|d| d.mode = "Lambda".into(), "spec.source.table", "archive the topic"),
        (|d| d.mode = "Batch".into(), "spec.source.table", "archive the topic"),
        (|d| (d.mode, d.archive, d.stream) = ("Batch".into(), true, None), "spec.source.topic", "is archived"),
        (|d| d.horizon_max_age = Some("long".into()), "spec.horizonMaxAge", "no duration"),
    ];
    for (change, field, words) in cases {
        let found = errors(change);
        assert!(
            found.iter().any(|e| e.starts_with(&format!("{field}: ")) && e.contains(words)),
            "{field} / {words}: {found:#?}"
        );
    }
}

#[test]
fn a_circle_of_expressions_is_shown_whole() {
    let found =
        errors(|d| d.features.extend([expression("a", "b + 1"), expression("b", "c + 1"), expression("c", "a + 1")]));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains("a → b → c → a"), "{found:#?}");
}

#[test]
fn all_errors_come_at_once() {
    let found = errors(|d| {
        d.features[0].condition = Some("x".into());
        d.features[2].of = Some("y".into());
        d.allowed_lateness = "?".into();
    });
    // The expression over the refused features is not blamed for them.
    assert_eq!(found.len(), 3, "{found:#?}");
}

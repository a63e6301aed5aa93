//! The dashboard in a real browser, with what a real Prometheus answers. Grafana itself is in no registry of packages, so that the
//! page beside this file draws it: in the dashboard's grid, with its titles, units, thresholds and legends, and with uPlot, the
//! library that draws Grafana's own time series.

use std::path::Path;

use e2e::browser::{Browser, Screen};
use e2e::services::{Directory, uplot};
use serde_json::{Value, json};

use super::{RATE_INTERVAL, dashboard};
use crate::console::picture;

/// The rows that one picture of the documentation shows.
const PICTURES: [(&str, &[&str]); 5] = [
    ("dashboard", &["At a glance", "Lag of what is served", "Freshness"]),
    ("dashboard-rollouts", &["Rollouts and comparisons", "Generations: Batch, Lambda, Lakehouse"]),
    ("dashboard-values", &["Drift and skew: are the values still right?", "Scaling by lag"]),
    ("dashboard-throughput", &["Throughput: stream workers", "Throughput: feature servers"]),
    ("dashboard-operator", &["Operator and alerts"]),
];

const WIDE: Screen = Screen { width: 1600, height: 1200, scale: 1.25, dark: true };

/// Draws what was between two times, in seconds since 1970, and holds that every panel shows it, and that nothing is cut off.
pub fn take(prometheus: &str, from: i64, to: i64) {
    let uplot = uplot().unwrap();
    let folder = Directory::new("dashboard-page").unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/dashboard/page");
    for source in [&page, &uplot.folder] {
        for file in std::fs::read_dir(source).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    let asked = json!({"dashboard": dashboard(), "prometheus": prometheus, "from": from, "to": to, "step": 1,
        "rate": RATE_INTERVAL, "uplot": uplot.version});
    std::fs::write(folder.path().join("asked.js"), format!("const asked = {asked};")).unwrap();

    let mut browser = Browser::start().unwrap_or_else(|error| panic!("{error}"));
    browser.screen(WIDE).unwrap();
    browser.open(&format!("file://{}", folder.path().join("index.html").display())).unwrap();
    let drawn = browser.until("drawn").unwrap();
    let drawn = drawn.as_array().unwrap_or_else(|| panic!("{drawn}"));
    let panels = dashboard()["panels"].as_array().cloned().unwrap();
    let mut rows: Vec<&str> =
        panels.iter().filter(|p| p["type"] == "row").map(|p| p["title"].as_str().unwrap()).collect();
    assert_eq!(drawn.len() + rows.len(), panels.len());
    let mut shown: Vec<&str> = PICTURES.iter().flat_map(|(_, rows)| *rows).copied().collect();
    shown.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, shown, "each in one picture");
    // Before what they show is judged: who looks for why sees them.
    for (name, rows) in PICTURES {
        let height = browser.evaluate(&format!("only({})", json!(rows))).unwrap();
        let height = u32::try_from(height.as_u64().unwrap()).unwrap();
        browser.screen(Screen { height, ..WIDE }).unwrap();
        picture(&mut browser, name);
    }
    for panel in drawn {
        let of = panels.iter().find(|p| p["title"] == panel["title"]).unwrap();
        assert!(panel["values"].as_u64().unwrap() > 0 || of_trouble_alone(of), "{} shows nothing", panel["title"]);
        assert_eq!(panel["cut"], json!([]), "{} cuts something off", panel["title"]);
    }
    assert_eq!(browser.complaints, Vec::<String>::new(), "the page's console says something");
}

/// Whether a panel is empty as long as all is well.
fn of_trouble_alone(panel: &Value) -> bool {
    panel["targets"].as_array().unwrap().iter().all(|target| target["expr"].as_str().unwrap().ends_with(" > 0"))
}

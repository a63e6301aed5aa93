//! What an erasure did, for whoever asked for it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::EraseError;

/// More is not kept of a container's last words.
const MOST_BYTES: usize = 4_096;

/// The outcome of one erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By view, in the order of the configuration.
    pub views: Vec<ViewReport>,
}

/// What was removed from one view, and what stays away from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewReport {
    /// `namespace/name`.
    pub view: String,
    /// Rows of the online store, over all revisions and incarnations.
    pub online_rows: u64,
    /// Records of Bronze.
    pub bronze: usize,
    /// Rows of Silver.
    pub silver: usize,
    /// Rows of the quarantine.
    pub quarantine: usize,
    /// Rows of Gold.
    pub gold: usize,
    /// By partition of the topic, the offset before which events do not count any more.
    pub covers: BTreeMap<i32, i64>,
    /// The time in milliseconds before which events of a table without offsets do not count any more.
    pub covers_before_ms: i64,
    /// The user's own table that the view reads: it is not changed, and may hold the entity still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ours: Option<String>,
}

impl Report {
    /// Prints it, and writes it to `path`.
    ///
    /// # Errors
    /// [`EraseError::Report`]; the erasure is done all the same, and repeating it only writes the report.
    pub fn tell(&self, path: Option<&Path>) -> Result<(), EraseError> {
        let text = self.text(usize::MAX);
        let failed = |to: &str| {
            let to = to.to_owned();
            move |source| EraseError::Report { to, source }
        };
        writeln!(std::io::stdout(), "{text}").map_err(failed("the standard output"))?;
        match path {
            Some(path) => std::fs::write(path, self.text(MOST_BYTES)).map_err(failed(&path.display().to_string())),
            None => Ok(()),
        }
    }

    /// As one JSON object; without the offsets if it would have more than `most` bytes with them.
    fn text(&self, most: usize) -> String {
        // Serialising owned data with string keys cannot fail.
        let json = |report: &Self| serde_json::to_string(report).unwrap_or_default();
        let whole = json(self);
        if whole.len() <= most {
            return whole;
        }
        let short = |view: &ViewReport| ViewReport { covers: BTreeMap::new(), ..view.clone() };
        json(&Self { views: self.views.iter().map(short).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_too_long_for_last_words_leaves_the_offsets_out() {
        let covers: BTreeMap<i32, i64> = (0..200).map(|partition| (partition, 1 << 40)).collect();
        let report = Report { views: vec![ViewReport { view: "a/b".into(), covers, ..ViewReport::default() }; 2] };
        assert!(report.text(usize::MAX).len() > MOST_BYTES);
        let short = report.text(MOST_BYTES);
        assert!(short.len() < MOST_BYTES && short.contains(r#""covers":{}"#), "{short}");
    }
}

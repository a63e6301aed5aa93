//! The views this server answers for, with their plans compiled.
//!
//! A [`Catalog`] is an immutable snapshot; a request holds on to the one it started with. Invariants: a view that
//! cannot be read or compiled is in the snapshot with its problem and harms no other; what did not change is shared with the snapshot before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use engine::lane::Layout;
use engine::plan::Plan;
use engine::program::Program;
use engine::shadow::Shadow;
use serde::Deserialize;

use crate::pointers::Pointers;
use crate::store::Fields;

/// All views at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    views: HashMap<String, Arc<View>>,
    version: Option<Vec<u8>>,
}

/// One plan, ready to be read.
#[derive(Debug)]
pub struct Revision {
    /// Its expressions, compiled.
    pub program: Program,
    /// How its lanes are laid out.
    pub layout: Layout,
}

/// One view.
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its UID; empty if the entry could not be read.
    pub uid: String,
    /// Answers further behind than this many milliseconds are degraded.
    pub freshness_target_ms: i64,
    /// Answers of a Lambda whose horizon is older than this many milliseconds are degraded.
    pub horizon_target_ms: Option<i64>,
    /// What is read beside its live answers.
    pub shadow: Option<Arc<Shadowed>>,
    /// The compiled plans by revision, or why one cannot run here.
    revisions: HashMap<String, Result<Arc<Revision>, String>>,
    /// The revision to assume while no pointer is known.
    first: Option<String>,
    /// Why the entry as a whole could not be read.
    problem: Option<String>,
    /// The entry as it stands in the store.
    entry: Vec<u8>,
    /// The pointers as last seen, shared with later snapshots of the same view.
    pointers: Arc<ArcSwapOption<Pointers>>,
}

/// An entry with its plans unread, so that one plan of another version does not hide the others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    uid: String,
    freshness_target_ms: i64,
    #[serde(default)]
    horizon_target_ms: Option<i64>,
    plans: Vec<serde_json::Value>,
    #[serde(default)]
    shadow: Option<Shadow>,
}

/// What is read beside a view's live answers, and how much of it was asked for.
#[derive(Debug)]
pub struct Shadowed {
    /// What the entry says.
    pub shadow: Shadow,
    answered: AtomicU64,
    dropped: AtomicU64,
}

impl Shadowed {
    fn of(shadow: Shadow) -> Self {
        Self { shadow, answered: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Whether the next answer is of the share: of any hundred in a row so many are, evenly.
    #[must_use]
    pub fn takes(&self) -> bool {
        let percent = u64::from(self.shadow.percent.min(100));
        let place = self.answered.fetch_add(1, Ordering::Relaxed) % 100;
        (place + 1) * percent / 100 > place * percent / 100
    }

    /// One that was of the share could not be taken.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many could not.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Catalog {
    /// The snapshot after `self`, from the catalog's hash. Compiles what is new, so call it off the request path.
    #[must_use]
    pub fn next(&self, version: Option<Vec<u8>>, fields: Fields) -> Self {
        let mut next = Self { views: HashMap::with_capacity(fields.len()), version };
        for (name, entry) in fields {
            let name = String::from_utf8_lossy(&name).into_owned();
            let before = self.views.get(&name);
            let view = match before {
                Some(view) if view.entry == entry => Arc::clone(view),
                _ => Arc::new(View::read(name.clone(), entry, before.map(AsRef::as_ref))),
            };
            next.views.insert(name, view);
        }
        next
    }

    /// The view of that name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.get(name)
    }

    /// The version this snapshot was read at, if its writer keeps one.
    #[must_use]
    pub fn version(&self) -> Option<&[u8]> {
        self.version.as_deref()
    }

    /// How many views are served, and how many plans or entries cannot be.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.views.len(), self.views.values().map(|v| v.problems().count()).sum())
    }

    /// Every problem, as (view, problem).
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.views.values().flat_map(|view| view.problems().map(|problem| (view.name.as_str(), problem)))
    }
}

impl View {
    fn read(name: String, bytes: Vec<u8>, before: Option<&Self>) -> Self {
        let entry: Entry = match serde_json::from_slice(&bytes) {
            Ok(entry) => entry,
            Err(e) => {
                let problem = Some(format!("its catalog entry cannot be read: {e}; let the operator write it anew"));
                return Self {
                    name,
                    problem,
                    entry: bytes,
                    uid: String::new(),
                    freshness_target_ms: 0,
                    horizon_target_ms: None,
                    shadow: None,
                    revisions: HashMap::new(),
                    first: None,
                    pointers: Arc::default(),
                };
            }
        };
        let before = before.filter(|view| view.uid == entry.uid);
        // What was counted goes on where the entry says the same.
        let known = before.and_then(|view| view.shadow.as_ref());
        let shadow = entry.shadow.map(|shadow| match known.filter(|known| known.shadow == shadow) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Shadowed::of(shadow)),
        });
        let mut revisions = HashMap::new();
        let mut first = None;
        for plan in entry.plans {
            let revision = plan.get("revision").and_then(|r| r.as_str()).unwrap_or_default().to_owned();
            let compiled = compile(plan, before.and_then(|view| view.revisions.get(&revision)));
            first.get_or_insert_with(|| revision.clone());
            revisions.insert(revision, compiled);
        }
        Self {
            name,
            uid: entry.uid,
            freshness_target_ms: entry.freshness_target_ms,
            horizon_target_ms: entry.horizon_target_ms,
            shadow,
            revisions,
            first,
            problem: None,
            entry: bytes,
            pointers: before.map(|view| Arc::clone(&view.pointers)).unwrap_or_default(),
        }
    }

    /// The pointers to assume: those last seen, or a first guess.
    ///
    /// # Errors
    /// Why the view cannot be read at all.
    pub fn assumed(&self) -> Result<Arc<Pointers>, String> {
        if let Some(pointers) = self.pointers.load_full() {
            return Ok(pointers);
        }
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let first = self.first.as_deref().ok_or("its catalog entry holds no plan yet")?;
        Ok(Arc::new(Pointers::guess(&self.uid, first)))
    }

    /// Remembers the pointers for the requests after this one.
    pub fn remember(&self, pointers: Arc<Pointers>) {
        self.pointers.store(Some(pointers));
    }

    /// A revision by its name; `None` if the catalog does not hold it, or why it cannot run here.
    #[must_use]
    pub fn revision(&self, revision: &str) -> Option<Result<&Arc<Revision>, &str>> {
        self.revisions.get(revision).map(|r| r.as_ref().map_err(String::as_str))
    }

    fn problems(&self) -> impl Iterator<Item = &str> {
        self.problem
            .iter()
            .map(String::as_str)
            .chain(self.revisions.values().filter_map(|r| r.as_ref().err().map(String::as_str)))
    }
}

/// Compiles one plan, or takes over what was compiled of the very same plan.
fn compile(plan: serde_json::Value, before: Option<&Result<Arc<Revision>, String>>) -> Result<Arc<Revision>, String> {
    let revision = plan.get("revision").map(ToString::to_string).unwrap_or_default();
    let plan: Plan = serde_json::from_value(plan).map_err(|e| {
        format!("the plan of revision {revision} cannot be read: {e}; it was made for another version of this server")
    })?;
    if let Some(Ok(before)) = before
        && before.program.plan() == &plan
    {
        return Ok(Arc::clone(before));
    }
    Revision::compile(plan).map(Arc::new)
}

impl Revision {
    /// Makes a plan ready to be read.
    ///
    /// # Errors
    /// Why it cannot run here.
    pub fn compile(plan: Plan) -> Result<Self, String> {
        let revision = plan.revision.clone();
        let program = Program::new(Arc::new(plan)).map_err(|e| format!("revision {revision}: {e}"))?;
        let layout = Layout::new(program.plan()).map_err(|e| format!("revision {revision}: {e}"))?;
        Ok(Self { program, layout })
    }
}

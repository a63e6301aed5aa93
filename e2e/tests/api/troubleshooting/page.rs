//! docs/troubleshooting.md as the tests read it: of each fault what the screens show while it stands, the command that mends
//! it, and what they show afterwards.
//!
//! Invariant: only what changes from run to run is masked (ages, times), or told by its name in the page (a revision, a
//! namespace, an address); every other word of the page is a word of the product.

const PAGE: &str = include_str!("../../../../docs/troubleshooting.md");

/// A screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// What a command prints.
    Prints(String),
    /// The view in the console: its line in the list, and its alerts.
    Console,
}

/// What the page says that a screen shows.
#[derive(Clone, Debug)]
pub struct Shown {
    pub screen: Screen,
    pub lines: Vec<String>,
}

/// One section of the page.
#[derive(Debug)]
pub struct Fault {
    /// While it stands.
    pub stands: Vec<Shown>,
    /// The section of the runbook that the console leads to.
    pub runbook: String,
    /// What mends it, as a person would type it.
    pub fix: String,
    /// Afterwards.
    pub mended: Vec<Shown>,
}

/// The headings of all faults.
pub fn headings() -> Vec<&'static str> {
    PAGE.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

impl Fault {
    /// The section under a heading.
    pub fn of(heading: &str) -> Self {
        let mut lines = PAGE.lines().skip_while(|line| line.strip_prefix("## ") != Some(heading)).skip(1);
        let mut fault = Self { stands: Vec::new(), runbook: String::new(), fix: String::new(), mended: Vec::new() };
        while let Some(line) = lines.next().filter(|line| !line.starts_with("## ")) {
            if let Some((_, link)) = line.split_once("Runbook: [") {
                link.split(']').next().unwrap().clone_into(&mut fault.runbook);
            }
            let Some(sort) = line.strip_prefix("```") else { continue };
            let mut block: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
            let shown = match sort {
                "sh" => {
                    assert!(fault.fix.is_empty(), "{heading}: two blocks of commands");
                    fault.fix = block.join("\n");
                    continue;
                }
                "text" => Shown { screen: Screen::Console, lines: block },
                "console" => {
                    let command = block.remove(0).strip_prefix("$ ").expect("the command").to_owned();
                    Shown { screen: Screen::Prints(command), lines: block }
                }
                other => panic!("{heading}: a block of {other:?}"),
            };
            if fault.fix.is_empty() { fault.stands.push(shown) } else { fault.mended.push(shown) }
        }
        let whole = |shown: &[Shown]| {
            shown.iter().any(|s| s.screen == Screen::Console)
                && ["get", "describe"].iter().all(|verb| {
                    shown
                        .iter()
                        .any(|s| matches!(&s.screen, Screen::Prints(c) if c.contains(&format!("kubectl {verb} fv"))))
                })
        };
        assert!(whole(&fault.stands), "{heading}: get, describe and the console are shown while it stands");
        assert!(
            !fault.fix.is_empty() && !fault.mended.is_empty() && !fault.runbook.is_empty(),
            "{heading}: {fault:#?}"
        );
        fault
    }
}

impl Shown {
    /// Whether a screen shows it; if not, what is missing where. `names` are the page's words for what differs from run to run.
    pub fn agrees(&self, screen: &str, names: &[(String, String)]) -> Result<(), String> {
        let named = names.iter().fold(screen.to_owned(), |text, (is, called)| text.replace(is, called));
        let is: Vec<String> = named.lines().map(masked).collect();
        let told: Vec<String> = self.lines.iter().map(|line| masked(line)).collect();
        let wrong = match self.screen {
            Screen::Prints(_) => in_lines(&told, &is),
            Screen::Console => in_words(&told, &masked(&named)),
        };
        wrong.map_or(Ok(()), |line| Err(format!("{:?}: not shown: {line}\nit shows:\n{named}", self.screen)))
    }
}

/// The first line that is not where it should be: each right after the one before, but where the page leaves some out ("…").
fn in_lines(told: &[String], is: &[String]) -> Option<String> {
    let (mut at, mut skips) = (0, false);
    for line in told {
        if line == "…" {
            skips = true;
            continue;
        }
        let found = is[at..].iter().position(|shown| shown == line).filter(|n| skips || *n == 0);
        let Some(n) = found else { return Some(line.clone()) };
        (at, skips) = (at + n + 1, false);
    }
    None
}

/// The first line that is not among the words after the line before: how words are broken into lines is the browser's.
fn in_words(told: &[String], is: &str) -> Option<String> {
    let mut rest = is;
    for line in told {
        let Some((_, after)) = rest.split_once(line.as_str()) else { return Some(line.clone()) };
        rest = after;
    }
    None
}

/// A line without how much space is between its words, how old anything is, what time it was, and how often an Event came.
fn masked(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        // "(x2 over 5s)"
        if word.strip_prefix("(x").is_some_and(|n| n.parse::<u32>().is_ok()) {
            all.nth(1);
            continue;
        }
        let core = word.trim_end_matches([',', ';', '.', ')']);
        let end = &word[core.len()..];
        words.push(if is_time(core) {
            format!("TIME{end}")
        } else if is_age(core) {
            format!("AGE{end}")
        } else {
            word.to_owned()
        });
    }
    words.join(" ")
}

fn is_time(word: &str) -> bool {
    word.len() >= 20 && word.ends_with('Z') && word.parse::<jiff::Timestamp>().is_ok()
}

/// As kubectl writes them: `5s`, `3m12s`, `2d`.
fn is_age(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h', 'd'])
        && word.chars().all(|c| c.is_ascii_digit() || ['s', 'm', 'h', 'd'].contains(&c))
}

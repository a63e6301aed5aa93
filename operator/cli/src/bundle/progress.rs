//! What is being read, as it goes, on standard error: one line for each stage, counted up where there is a terminal.

use std::io::IsTerminal as _;

/// One stage.
pub struct Stage {
    name: &'static str,
    count: usize,
    shown: bool,
}

impl Stage {
    /// Begins it.
    pub fn begin(name: &'static str) -> Self {
        let stage = Self { name, count: 0, shown: std::io::stderr().is_terminal() };
        stage.show("");
        stage
    }

    /// So many more.
    pub fn more(&mut self, count: usize) {
        self.count += count;
        self.show("");
    }

    /// Ends it.
    pub fn end(mut self) {
        self.shown = true;
        self.show("\n");
    }

    fn show(&self, end: &str) {
        if self.shown {
            let over = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
            eprint!("{over}  {:<28}{:>6}{end}", self.name, self.count);
        }
    }
}

//! What is shown again and again, over what was shown before; where there is no terminal, under it, and only if it differs.

/// What was shown last.
#[derive(Default)]
pub struct Screen(String);

impl Screen {
    /// Shows it.
    pub fn show(&mut self, text: String) {
        if text == self.0 {
            return;
        }
        if !self.0.is_empty() && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            print!("\x1b[{}A\x1b[J", self.0.lines().count());
        }
        print!("{text}");
        // A bar is to be seen as it is, not once its end is.
        let _ = std::io::Write::flush(&mut std::io::stdout());
        self.0 = text;
    }
}

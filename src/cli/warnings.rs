//! Warnings: problems that do not end a command, on stderr when they happen and again in the report.

use cnflow::Error;

use super::Context;

/// Problems that do not end the command.
pub struct Warnings<'a> {
    context: &'a Context,
    /// In their order.
    pub all: Vec<String>,
}

impl<'a> Warnings<'a> {
    /// None yet.
    pub fn new(context: &'a Context) -> Self {
        Self { context, all: Vec::new() }
    }

    /// One more, on stderr at once.
    pub fn add(&mut self, words: String) {
        self.context.note(&format!("warning: {words}"));
        self.all.push(words);
    }

    /// A file that cannot be written is a warning with its consequence; another error stays one.
    ///
    /// # Errors
    /// All but [`Error::Write`].
    pub fn without(&mut self, written: cnflow::Result<()>, consequence: &str) -> cnflow::Result<()> {
        match written {
            Err(error @ Error::Write { .. }) => {
                self.add(format!("{error}; {consequence}"));
                Ok(())
            }
            other => other,
        }
    }
}

//! What a command prints, and how it ends.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::cli::Global;

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    form: Form,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Json,
    Text,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            form: if global.json { Form::Json } else { Form::Text },
        }
    }

    /// Prints a result: as JSON, or as `text` puts it.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let line = match self.form {
            Form::Json => serde_json::to_string(value).map_err(Failure::failed)?,
            Form::Text => text(value),
        };
        print(&line)
    }

    /// A line about what is going on; not part of the result.
    pub(crate) fn note(&self, line: &str) {
        if self.form == Form::Text {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// A bar on a terminal; nothing otherwise.
    pub(crate) fn progress(&self, length: u64, what: &str) -> ProgressBar {
        if self.form == Form::Json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg:24} {bar:30} {pos}/{len} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length)
            .with_style(style)
            .with_message(what.to_owned())
    }

    /// Prints why a command failed, with all causes, once.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        if !failure.message.is_empty() {
            let line = match self.form {
                Form::Json => json!({ "error": failure.message }).to_string(),
                Form::Text => format!("ai-link: {}", failure.message),
            };
            let _ = writeln!(io::stderr(), "{line}");
        }
        ExitCode::from(failure.code)
    }
}

/// A reader that goes away (`| head`) is no failure.
fn print(line: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// How a command ends when not well.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn failed(error: impl Error) -> Self {
        Self {
            code: 1,
            message: chain(&error),
        }
    }

    /// Exit code 1, with words of our own.
    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
        }
    }

    /// Exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
        }
    }

    /// The same failure, with what to do about it.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(hint);
        self
    }

    /// What happened.
    pub(crate) fn text(&self) -> &str {
        &self.message
    }

    /// Exit code 3: what there is to say was printed as the result.
    pub(crate) fn said_no() -> Self {
        Self {
            code: 3,
            message: String::new(),
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

//! `ai-link completions` and `ai-link man`: made from the command line itself, so that they cannot be out of date.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use serde_json::json;

use crate::cli::Cli;
use crate::output::{Failure, Output};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write, and a reader may go away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ai-link", &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

pub(super) fn pages(dir: &Path, output: &Output) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(Failure::failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(Failure::failed)?;
    let count = fs::read_dir(dir).map_err(Failure::failed)?.count();
    let result = json!({ "directory": dir, "files": count });
    output.result(&result, |_| format!("{count} files in {}", dir.display()))
}

//! Exit codes: 0 done, 1 failed while running, 2 usage or configuration.

use std::fmt::Display;
use std::process::ExitCode;

/// Why a program ends other than by being asked to.
#[derive(Debug)]
pub enum Failure {
    /// The command line, the configuration, or a place it names cannot be used: exit code 2.
    Usage(String),
    /// It worked for a while, or would have, and then could not: exit code 1.
    Run(String),
}

impl Failure {
    pub fn usage(error: impl Display) -> Self {
        Self::Usage(one_line(error))
    }

    pub fn run(error: impl Display) -> Self {
        Self::Run(one_line(error))
    }

    pub fn message(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Run(message) => message,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Run(_) => 1,
        }
    }
}

/// Prints a failure as one line on standard error and answers the exit code for it.
pub fn report(program: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{program}: {}", failure.message());
            ExitCode::from(failure.code())
        }
    }
}

/// Folds a message of several lines (TOML's errors draw a picture) into one.
pub fn one_line(error: impl Display) -> String {
    error.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Ends a program whose command line could not be understood: help and version go to standard output with
/// exit code 0, anything else is one line on standard error with exit code 2.
pub fn usage(program: &str, error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            crate::output::text(error);
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.to_string();
            // clap's first paragraph says what is wrong; the rest is usage, which --help shows.
            let what =
                text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
            let what = one_line(what.collect::<Vec<_>>().join("\n"));
            let what = what.trim_start_matches("error:").trim().replace(" tip:", "; tip:");
            eprintln!("{program}: {what}; --help shows what there is");
            ExitCode::from(2)
        }
    }
}

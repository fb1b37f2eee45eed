//! Which rows are read, and how they are written.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use program::Failure;

use crate::commands::{Format, IngestArgs};
use crate::config::{FormatConfig, RowFormat};
use crate::inputs::{DocumentError, Rows, read_rows, source};

pub(super) fn open_rows(args: &IngestArgs) -> Result<Box<dyn Rows>, Failure> {
    let name = args.file.display();
    let at = |error: &dyn std::fmt::Display| Failure::usage(format!("{name}: {error}"));
    let source: Box<dyn Read + Send> = if args.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(&args.file).map_err(|error| at(&error))?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(at(&"is a directory"));
        }
        Box::new(file)
    };
    let mut source = source::open(source).map_err(|error| at(&error))?;
    let format = match args.format {
        Some(Format::Csv) => RowFormat::Csv,
        Some(Format::JsonLines) => RowFormat::JsonLines,
        Some(Format::LineProtocol) => RowFormat::LineProtocol,
        None => told_format(&args.file, &mut source).map_err(|error| at(&error))?,
    };
    let mut config = FormatConfig::plain(format);
    config.time.column = args.time_column.clone();
    let rows = read_rows(source, &config).map_err(|error| match error {
        DocumentError::Csv(error) => at(&error),
        // The command is right, the file is not.
        error => Failure::run(format!("{name}: {error}")),
    })?;
    rows.notices().iter().for_each(|notice| eprintln!("{name}: {notice}"));
    Ok(rows)
}

/// By the file's name, else by what it begins with: JSON's brackets, or anything else as a CSV header.
fn told_format(file: &Path, source: &mut impl BufRead) -> io::Result<RowFormat> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "csv" => RowFormat::Csv,
        "json" | "jsonl" | "ndjson" => RowFormat::JsonLines,
        "lp" | "influx" => RowFormat::LineProtocol,
        _ if source::opening(source)? == source::Opening::Other => RowFormat::Csv,
        _ => RowFormat::JsonLines,
    })
}

//! Which rows are read, and how they are written.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use program::Failure;

use crate::commands::{Format, IngestArgs};
use crate::config::RowFormat;
use crate::inputs::csv::CsvRows;
use crate::inputs::json_lines::JsonLines;
use crate::inputs::{Rows, source};

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
        None => told_format(&args.file, &mut source).map_err(|error| at(&error))?,
    };
    let time_column = args.time_column.as_deref();
    Ok(match format {
        RowFormat::Csv => {
            let rows = CsvRows::new(source, time_column).map_err(|error| at(&error))?;
            rows.notices().iter().for_each(|notice| eprintln!("{name}: {notice}"));
            Box::new(rows)
        }
        // The command is right, the file is not.
        RowFormat::JsonLines => Box::new(
            JsonLines::new(source, time_column).map_err(|error| Failure::run(format!("{name}: {error}")))?,
        ),
    })
}

/// By the file's name, else by what it begins with: JSON's brackets, or anything else as a CSV header.
fn told_format(file: &Path, source: &mut impl BufRead) -> io::Result<RowFormat> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "csv" => RowFormat::Csv,
        "json" | "jsonl" | "ndjson" => RowFormat::JsonLines,
        _ if source::opening(source)? == source::Opening::Other => RowFormat::Csv,
        _ => RowFormat::JsonLines,
    })
}

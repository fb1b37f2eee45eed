//! Which rows are read, and how they are written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use program::Failure;

use crate::commands::{Format, IngestArgs};
use crate::config::RowFormat;
use crate::inputs::Rows;
use crate::inputs::csv::CsvRows;
use crate::inputs::json_lines::JsonLines;

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
    let mut source = BufReader::with_capacity(64 << 10, source);
    let format = match args.format {
        Some(Format::Csv) => RowFormat::Csv,
        Some(Format::JsonLines) => RowFormat::JsonLines,
        None => told_format(&args.file, &mut source).map_err(|error| at(&error))?,
    };
    let time_column = args.time_column.as_deref();
    Ok(match format {
        RowFormat::Csv => Box::new(CsvRows::new(source, time_column).map_err(|error| at(&error))?),
        RowFormat::JsonLines => Box::new(JsonLines::new(source, time_column)),
    })
}

/// By the file's name, else by what it begins with: an object is JSON, anything else a CSV header.
fn told_format(file: &Path, source: &mut impl BufRead) -> io::Result<RowFormat> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "csv" => RowFormat::Csv,
        "json" | "jsonl" | "ndjson" => RowFormat::JsonLines,
        _ => {
            let first = source.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace());
            if first == Some(&b'{') { RowFormat::JsonLines } else { RowFormat::Csv }
        }
    })
}

//! CSV whose every line is a row of its own, as a file that grows or a command prints it.

use csv::StringRecord;

use super::table::{HeaderError, Table};
use super::{builder, delimiter};
use crate::config::FormatConfig;
use crate::inputs::row::{Bad, BadCell, BadRow, Row};

/// The first line is the header, where there is to be one.
pub struct CsvLine {
    config: FormatConfig,
    table: Option<(Table, u8)>,
    notices: Vec<String>,
    record: StringRecord,
    aside: Vec<BadCell>,
}

impl CsvLine {
    pub fn new(config: &FormatConfig) -> Self {
        Self {
            config: config.clone(),
            table: None,
            notices: Vec::new(),
            record: StringRecord::new(),
            aside: Vec::new(),
        }
    }

    /// Another document begins.
    pub fn restart(&mut self) {
        self.table = None;
    }

    pub fn has_header(&self) -> bool {
        self.config.csv.header
    }

    /// What was made of the header that its writer may not have meant, for people.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Takes a line that is not blank. A header that cannot be used is an error; it is the document that cannot be
    /// used then.
    pub fn line(
        &mut self,
        number: u64,
        text: &[u8],
        said: &mut Vec<Result<Row, Bad>>,
    ) -> Result<(), HeaderError> {
        let told = match &self.table {
            Some((_, delimiter)) => *delimiter,
            None => self.config.csv.delimiter.unwrap_or_else(|| delimiter(text, &mut self.notices)),
        };
        if let Err(what) = read(text, told, &mut self.record) {
            said.push(Err(BadRow { line: number, what }.into()));
            return Ok(());
        }
        let (csv, time) = (&self.config.csv, &self.config.time);
        let table = match &mut self.table {
            Some((table, _)) => table,
            none if csv.header => {
                let table = Table::of_header(&self.record, csv, time, &mut self.notices)?;
                none.replace((table, told));
                return Ok(());
            }
            none => &mut none.insert((Table::of_numbers(csv, time), told)).0,
        };
        let row = table.row(&self.record, number, &mut self.aside);
        said.extend(self.aside.drain(..).map(|bad| Err(bad.into())));
        said.push(row.map_err(Bad::from));
        Ok(())
    }
}

/// Reads the one record of a line.
fn read(text: &[u8], delimiter: u8, record: &mut StringRecord) -> Result<(), String> {
    let mut reader = builder(delimiter).buffer_capacity(text.len().max(1)).from_reader(text);
    match reader.read_record(record) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.into_kind() {
            csv::ErrorKind::Utf8 { err, .. } => err.to_string(),
            kind => format!("{kind:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RowFormat;

    #[test]
    fn the_first_line_is_the_header_of_every_document() {
        let mut csv = CsvLine::new(&FormatConfig::plain(RowFormat::Csv));
        let mut said = Vec::new();
        for line in ["ts;a;b\n", "1;2;3\n", "2;x\n", "3;\"4\";NaN\r\n"] {
            csv.line(7, line.as_bytes(), &mut said).unwrap();
        }
        let [Ok(first), Err(short), Err(Bad::Cell(cell)), Ok(last)] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!((first.time_ms, first.measurements.len()), (Some(1000), 2));
        assert_eq!(short.to_string(), "line 7: 2 cells, the header has 3");
        assert_eq!((cell.name.as_str(), last.measurements.len()), ("b", 1));
        assert_eq!(csv.take_notices().len(), 1, "the semicolons are told");
        csv.restart();
        let refused = csv.line(1, b"a,a\n", &mut said).unwrap_err();
        assert_eq!(refused, HeaderError::SameName("a".into()));
    }
}

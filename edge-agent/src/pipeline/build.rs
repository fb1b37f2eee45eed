//! The input that a section of the settings means.

use crate::config::{InputConfig, InputKind};
use crate::inputs::Input;
use crate::inputs::exec::ExecInput;
use crate::inputs::files::FilesInput;
use crate::inputs::host::HostInput;
use crate::inputs::report::ReportInput;
use crate::inputs::stdin::StdinInput;
use crate::inputs::tail::TailInput;

pub fn build(config: &InputConfig) -> Box<dyn Input> {
    match config.kind.clone() {
        InputKind::Host(host) => Box::new(HostInput::new(&host)),
        InputKind::Stdin(format) => Box::new(StdinInput::new(format)),
        InputKind::Tail(tail) => Box::new(TailInput::new(tail)),
        InputKind::Files(files) => Box::new(FilesInput::new(files)),
        InputKind::Exec(exec) => Box::new(ExecInput::new(exec)),
        InputKind::Report(report) => Box::new(ReportInput::new(report.reporter, report.interval)),
    }
}

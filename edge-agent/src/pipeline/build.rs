//! The input that a section of the settings means.

use crate::config::{InputConfig, InputKind};
use crate::inputs::Input;
use crate::inputs::exec::ExecInput;
use crate::inputs::files::FilesInput;
use crate::inputs::host::HostInput;
use crate::inputs::http::HttpInput;
use crate::inputs::modbus::ModbusInput;
use crate::inputs::mqtt::MqttInput;
use crate::inputs::report::{ReportInput, Reporter};
use crate::inputs::socket::SocketInput;
use crate::inputs::stdin::StdinInput;
use crate::inputs::tail::TailInput;

/// `reporter` is for the input that stands for the agent itself.
pub fn build(config: &InputConfig, reporter: Option<&Reporter>) -> Box<dyn Input> {
    match config.kind.clone() {
        InputKind::Host(host) => Box::new(HostInput::new(&host)),
        InputKind::Stdin(format) => Box::new(StdinInput::new(format)),
        InputKind::Tail(tail) => Box::new(TailInput::new(tail)),
        InputKind::Files(files) => Box::new(FilesInput::new(files)),
        InputKind::Exec(exec) => Box::new(ExecInput::new(exec)),
        InputKind::Http(http) => Box::new(HttpInput::new(http)),
        InputKind::Mqtt(mqtt) => Box::new(MqttInput::new(mqtt)),
        InputKind::Socket(socket) => Box::new(SocketInput::new(socket)),
        InputKind::Modbus(modbus) => Box::new(ModbusInput::new(modbus)),
        InputKind::Report(interval) => Box::new(ReportInput::new(reporter.cloned(), interval)),
    }
}

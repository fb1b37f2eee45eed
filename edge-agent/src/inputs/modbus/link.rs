//! The way to the devices: a TCP connection or a serial line, made when it is needed.

use std::time::Duration;

use serial2_tokio::{CharSize, Parity, SerialPort, Settings, StopBits};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Response, Slave};

use super::decode::Read;
use super::plan::Request;
use crate::config::{ModbusAddress, ModbusParity, ModbusTable, SerialLine};

/// A late answer has ended when nothing came for so long.
const HEARD_OUT_AFTER: Duration = Duration::from_millis(50);
/// Of what is told of an answer that cannot be understood.
const COMPLAINT_CHARS_MAX: usize = 200;
const OTHER_FUNCTION: &str = "the answer is to another function";

/// What a device answered.
#[derive(Debug)]
pub enum Answer {
    Words(Vec<u16>),
    Bits(Vec<bool>),
}

impl Answer {
    pub fn read(&self) -> Read<'_> {
        match self {
            Self::Words(words) => Read::Words(words),
            Self::Bits(bits) => Read::Bits(bits),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The device refused it.
    Refused(ExceptionCode),
    /// The device said nothing, or nothing that can be understood.
    NoAnswer(String),
    /// There is no way to any device.
    Unreachable(String),
}

/// The same as it matters to the way.
enum Trouble {
    Refused(ExceptionCode),
    Unreachable(String),
    /// An answer may still come.
    Silent,
    Garbled(String),
    Lost(String),
}

pub struct Link {
    address: ModbusAddress,
    timeout: Duration,
    /// None before the first request and after one that was not answered: what comes then must not be taken for
    /// the answer to another one.
    context: Option<Context>,
    line: Option<Line>,
}

/// A serial line that is open; contexts use clones of it.
struct Line {
    port: SerialPort,
    /// What must be silent between two frames.
    pause: Duration,
    quiet_since: Instant,
}

impl Link {
    pub fn new(address: ModbusAddress, timeout: Duration) -> Self {
        Self { address, timeout, context: None, line: None }
    }

    /// Asks once, or twice where a connection that was there before turns out to be of no use: servers close
    /// those that were idle.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        let was_there = self.context.is_some();
        let answered = match self.ask_once(request).await {
            Err(Trouble::Garbled(_) | Trouble::Lost(_)) if was_there => self.ask_once(request).await,
            other => other,
        };
        let shown = |what: String| what.chars().take(COMPLAINT_CHARS_MAX).collect();
        answered.map_err(|trouble| match trouble {
            Trouble::Refused(code) => Failure::Refused(code),
            Trouble::Unreachable(what) => Failure::Unreachable(what),
            Trouble::Silent => Failure::NoAnswer(format!("no answer within {} ms", self.timeout.as_millis())),
            Trouble::Garbled(what) | Trouble::Lost(what) => Failure::NoAnswer(shown(what)),
        })
    }

    async fn ask_once(&mut self, request: &Request) -> Result<Answer, Trouble> {
        let mut context = match self.context.take() {
            Some(context) => context,
            None => self.connect().await.map_err(Trouble::Unreachable)?,
        };
        if let Some(line) = &self.line {
            sleep_until(line.quiet_since + line.pause).await;
        }
        context.set_slave(Slave(request.unit_id));
        let called = timeout(self.timeout, context.call(wire(request))).await;
        if let Some(line) = &mut self.line {
            line.quiet_since = Instant::now();
        }
        let answered = match called {
            Ok(Ok(Ok(response))) => checked(response, request),
            Ok(Ok(Err(code))) => Err(Trouble::Refused(code)),
            Ok(Err(error)) => Err(trouble(error)),
            Err(_) => Err(Trouble::Silent),
        };
        match &answered {
            Ok(_) | Err(Trouble::Refused(_)) => self.context = Some(context),
            Err(Trouble::Silent) => {
                if let Some(line) = &self.line {
                    line.hear_out(self.timeout).await;
                }
            }
            Err(Trouble::Garbled(_)) => {}
            Err(Trouble::Lost(_) | Trouble::Unreachable(_)) => self.line = None,
        }
        answered
    }

    async fn connect(&mut self) -> Result<Context, String> {
        match &self.address {
            ModbusAddress::Tcp { host, port } => {
                let connecting = timeout(self.timeout, TcpStream::connect((host.as_str(), *port))).await;
                let of = |what: &dyn std::fmt::Display| format!("{host}:{port}: {what}");
                let stream =
                    connecting.map_err(|_| of(&"no connection in time"))?.map_err(|error| of(&error))?;
                stream.set_nodelay(true).map_err(|error| of(&error))?;
                Ok(tcp::attach(stream))
            }
            ModbusAddress::Serial(serial) => {
                let of = |error| format!("{}: {error}", serial.path.display());
                let line = match self.line.take() {
                    Some(line) => line,
                    None => Line::open(serial).map_err(of)?,
                };
                line.port.discard_input_buffer().map_err(of)?;
                let port = line.port.try_clone().map_err(of)?;
                self.line = Some(line);
                Ok(rtu::attach(port))
            }
        }
    }
}

impl Line {
    fn open(line: &SerialLine) -> std::io::Result<Self> {
        let port = SerialPort::open(&line.path, |mut settings: Settings| {
            settings.set_raw();
            settings.set_baud_rate(line.baud_rate)?;
            settings.set_char_size(CharSize::Bits8);
            settings.set_parity(match line.parity {
                ModbusParity::None => Parity::None,
                ModbusParity::Even => Parity::Even,
                ModbusParity::Odd => Parity::Odd,
            });
            settings.set_stop_bits(if line.has_two_stop_bits { StopBits::Two } else { StopBits::One });
            Ok(settings)
        })?;
        Ok(Self { port, pause: pause(line.baud_rate), quiet_since: Instant::now() })
    }

    /// RTU's answers carry no number: one that comes late would be taken for the next request's.
    async fn hear_out(&self, mut patience: Duration) {
        let mut chunk = [0; 256];
        while let Ok(Ok(1..)) = timeout(patience, self.port.read(&mut chunk)).await {
            patience = HEARD_OUT_AFTER;
        }
    }
}

/// 3.5 characters of 11 bits, and no less than 1.75 ms (Modbus over Serial Line, 2.5.1.1).
fn pause(baud_rate: u32) -> Duration {
    let characters = Duration::from_secs(77) / 2 / baud_rate.max(1);
    characters.max(Duration::from_micros(1750))
}

fn wire(request: &Request) -> tokio_modbus::Request<'static> {
    let (address, count) = (request.address, request.count);
    match request.table {
        ModbusTable::Coil => tokio_modbus::Request::ReadCoils(address, count),
        ModbusTable::Discrete => tokio_modbus::Request::ReadDiscreteInputs(address, count),
        ModbusTable::Input => tokio_modbus::Request::ReadInputRegisters(address, count),
        ModbusTable::Holding => tokio_modbus::Request::ReadHoldingRegisters(address, count),
    }
}

/// An answer of the kind and length that was asked for; bits come in whole bytes.
fn checked(response: Response, request: &Request) -> Result<Answer, Trouble> {
    let count = usize::from(request.count);
    let (answer, told, wanted) = match (request.table, response) {
        (ModbusTable::Coil, Response::ReadCoils(bits))
        | (ModbusTable::Discrete, Response::ReadDiscreteInputs(bits)) => {
            let told = bits.len();
            (Answer::Bits(bits), told, count.next_multiple_of(8))
        }
        (ModbusTable::Input, Response::ReadInputRegisters(words))
        | (ModbusTable::Holding, Response::ReadHoldingRegisters(words)) => {
            let told = words.len();
            (Answer::Words(words), told, count)
        }
        _ => return Err(Trouble::Garbled(OTHER_FUNCTION.to_owned())),
    };
    if told == wanted {
        return Ok(answer);
    }
    Err(Trouble::Garbled(format!("{told} values were answered, not {wanted}")))
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { .. }) => {
            Trouble::Garbled("the answer is to another request".to_owned())
        }
        Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => {
            Trouble::Garbled(OTHER_FUNCTION.to_owned())
        }
        Error::Transport(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Trouble::Garbled(format!("what came is no Modbus: {error}"))
        }
        Error::Transport(error) => Trouble::Lost(format!("the connection was lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_apart_by_three_and_a_half_characters() {
        assert_eq!(pause(9600).as_micros(), 4010);
        assert_eq!(pause(115_200).as_micros(), 1750);
    }
}

//! Modbus: where the devices are, how often they are read, and what their registers mean.

mod registers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

pub use registers::{ByteOrder, Form, ModbusTable, NumberType, Register, RegisterError, RegisterSettings};

use crate::limits::MODBUS_READINGS_MAX;

/// Devices behind one address, read at an interval.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModbusSettings {
    /// `tcp://HOST[:PORT]`, or a serial line's device such as `/dev/ttyUSB0`.
    pub address: String,
    /// Of a serial line, in bits a second; it always has 8 data bits, as RTU needs.
    pub baud_rate: Option<i64>,
    pub parity: Option<ModbusParity>,
    pub stop_bits: Option<i64>,
    /// The device that registers are of where nothing else is said.
    pub unit_id: Option<i64>,
    /// Devices with the same registers, by name: the unit id of each.
    #[serde(default)]
    pub children: BTreeMap<String, i64>,
    pub interval_ms: Option<i64>,
    /// What an answer may take, and connecting.
    pub timeout_ms: Option<i64>,
    /// Registers between two that are wanted are read with them where they are this many or fewer.
    pub gap_max: Option<i64>,
    #[serde(default)]
    pub registers: Vec<RegisterSettings>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ModbusParity {
    #[default]
    None,
    Even,
    Odd,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModbusConfig {
    pub address: ModbusAddress,
    pub interval: Duration,
    pub timeout: Duration,
    pub gap_max: u16,
    /// At least one; each is read of one device.
    pub registers: Vec<Register>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModbusAddress {
    Tcp { host: String, port: u16 },
    Serial(SerialLine),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialLine {
    pub path: PathBuf,
    pub baud_rate: u32,
    pub parity: ModbusParity,
    pub has_two_stop_bits: bool,
}

#[derive(Debug, Error)]
pub enum ModbusError {
    #[error("address: {0:?}: tcp://HOST[:PORT] or a serial device such as /dev/ttyUSB0 is needed")]
    Address(String),
    #[error("{0} is of a serial line, and address is none")]
    NotSerial(&'static str),
    #[error("{0}")]
    Range(#[from] OutOfRange),
    #[error("children: {0:?}: a name is up to 64 letters, digits, '-', '_' and '.'")]
    ChildName(String),
    #[error("children: {0}: {1}")]
    Child(String, #[source] OutOfRange),
    #[error("`registers` is empty: [[inputs.registers]] says what is read")]
    NoRegisters,
    #[error("registers: {0} are too many (children counted), {MODBUS_READINGS_MAX} are allowed")]
    TooManyRegisters(usize),
    #[error("registers: {0}: {1}")]
    Register(String, #[source] RegisterError),
    #[error("registers: two are named {0:?}")]
    SameSensor(String),
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{key}: {given} is not within {min} to {max}")]
pub struct OutOfRange {
    pub key: &'static str,
    pub given: i64,
    pub min: i64,
    pub max: i64,
}

const TCP: &str = "tcp://";
/// Modbus Messaging on TCP/IP Implementation Guide, 3.1.3.
const TCP_PORT: u16 = 502;
const BAUD_RATE: i64 = 9600;
const UNIT_ID: i64 = 1;
const INTERVAL_MS: i64 = 1000;
const TIMEOUT_MS: i64 = 1000;
const GAP_MAX: i64 = 8;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl ModbusSettings {
    pub(super) fn validate(self) -> Result<ModbusConfig, ModbusError> {
        let ms = |key, given: Option<i64>, default| {
            within::<u64>(key, given.unwrap_or(default), 10, DAY_MS).map(Duration::from_millis)
        };
        let (interval, timeout) = (
            ms("interval_ms", self.interval_ms, INTERVAL_MS)?,
            ms("timeout_ms", self.timeout_ms, TIMEOUT_MS)?,
        );
        let gap_max = within("gap_max", self.gap_max.unwrap_or(GAP_MAX), 0, 100)?;
        let address = self.address()?;
        let units = self.units(matches!(address, ModbusAddress::Serial(_)))?;
        let registers = registers(self.registers, &units)?;
        Ok(ModbusConfig { address, interval, timeout, gap_max, registers })
    }

    fn address(&self) -> Result<ModbusAddress, ModbusError> {
        let wrong = || ModbusError::Address(self.address.clone());
        if let Some(place) = self.address.strip_prefix(TCP) {
            let of_serial_lines = [
                ("baud_rate", self.baud_rate.is_some()),
                ("parity", self.parity.is_some()),
                ("stop_bits", self.stop_bits.is_some()),
            ];
            if let Some((key, _)) = of_serial_lines.iter().find(|(_, is_given)| *is_given) {
                return Err(ModbusError::NotSerial(key));
            }
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
                _ => (place, TCP_PORT),
            };
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let is_name = !host.is_empty() && !host.contains(['/', '[', ']', '@', ' ']);
            return if is_name {
                Ok(ModbusAddress::Tcp { host: host.to_owned(), port })
            } else {
                Err(wrong())
            };
        }
        if !self.address.starts_with('/') {
            return Err(wrong());
        }
        Ok(ModbusAddress::Serial(SerialLine {
            path: self.address.clone().into(),
            baud_rate: within("baud_rate", self.baud_rate.unwrap_or(BAUD_RATE), 50, 4_000_000)?,
            parity: self.parity.unwrap_or_default(),
            has_two_stop_bits: within::<u8>("stop_bits", self.stop_bits.unwrap_or(1), 1, 2)? == 2,
        }))
    }

    fn units(&self, is_serial: bool) -> Result<Units, ModbusError> {
        let own = unit_id(self.unit_id.unwrap_or(UNIT_ID), is_serial)?;
        let mut children = BTreeMap::new();
        for (name, id) in &self.children {
            if !is_child_name(name) {
                return Err(ModbusError::ChildName(name.clone()));
            }
            let id = unit_id(*id, is_serial).map_err(|error| ModbusError::Child(name.clone(), error))?;
            children.insert(name.clone(), id);
        }
        Ok(Units { own, children, is_serial })
    }
}

/// The devices that registers can be of.
struct Units {
    own: u8,
    children: BTreeMap<String, u8>,
    is_serial: bool,
}

impl Units {
    /// Which devices, with their names, a register is read of.
    fn of(&self, register: &RegisterSettings) -> Result<Vec<(Option<String>, u8)>, RegisterError> {
        let given = register.unit_id.map(|id| unit_id(id, self.is_serial)).transpose()?;
        if let Some(name) = &register.child {
            if !is_child_name(name) {
                return Err(RegisterError::ChildName(name.clone()));
            }
            let known = self.children.get(name).copied();
            if known.is_none() && given.is_none() && !self.children.is_empty() {
                return Err(RegisterError::NoChild(name.clone()));
            }
            return Ok(vec![(Some(name.clone()), given.or(known).unwrap_or(self.own))]);
        }
        if given.is_some() || self.children.is_empty() {
            return Ok(vec![(None, given.unwrap_or(self.own))]);
        }
        Ok(self.children.iter().map(|(name, id)| (Some(name.clone()), *id)).collect())
    }
}

fn registers(settings: Vec<RegisterSettings>, units: &Units) -> Result<Vec<Register>, ModbusError> {
    let mut registers = Vec::new();
    for register in settings {
        let of = |error| ModbusError::Register(register.name.clone(), error);
        for (child, unit_id) in units.of(&register).map_err(of)? {
            registers.push(register.validate(child, unit_id).map_err(of)?);
        }
    }
    if registers.is_empty() {
        return Err(ModbusError::NoRegisters);
    }
    if registers.len() > MODBUS_READINGS_MAX {
        return Err(ModbusError::TooManyRegisters(registers.len()));
    }
    let mut sensors = BTreeSet::new();
    match registers.iter().find(|register| !sensors.insert(&register.sensor)) {
        Some(twice) => Err(ModbusError::SameSensor(twice.sensor.clone())),
        None => Ok(registers),
    }
}

/// On a serial line 0 is for all at once and 248 to 255 are reserved (Modbus over Serial Line, 2.2).
fn unit_id(given: i64, is_serial: bool) -> Result<u8, OutOfRange> {
    if is_serial { within("unit_id", given, 1, 247) } else { within("unit_id", given, 0, 255) }
}

fn is_child_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(is_good)
}

fn within<T: TryFrom<i64>>(key: &'static str, given: i64, min: i64, max: i64) -> Result<T, OutOfRange> {
    let wrong = OutOfRange { key, given, min, max };
    if (min..=max).contains(&given) { T::try_from(given).map_err(|_| wrong) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Result<ModbusConfig, String> {
        let settings: ModbusSettings = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        settings.validate().map_err(|error| error.to_string())
    }

    const ONE: &str = "[[registers]]\nname=\"t\"\nkind=\"holding\"\naddress=0\n";

    #[test]
    fn an_address_is_a_host_or_a_serial_line() {
        let address = |toml: &str| config(&format!("{toml}\n{ONE}")).map(|config| config.address);
        let tcp = |host: &str, port| Ok(ModbusAddress::Tcp { host: host.to_owned(), port });
        assert_eq!(address("address=\"tcp://plc\""), tcp("plc", 502));
        assert_eq!(address("address=\"tcp://10.0.0.1:1502\""), tcp("10.0.0.1", 1502));
        assert_eq!(address("address=\"tcp://[::1]\""), tcp("::1", 502));
        assert_eq!(address("address=\"tcp://[::1]:1502\""), tcp("::1", 1502));
        let line = |baud_rate, parity, has_two_stop_bits| {
            let path = "/dev/ttyUSB0".into();
            Ok(ModbusAddress::Serial(SerialLine { path, baud_rate, parity, has_two_stop_bits }))
        };
        assert_eq!(address("address=\"/dev/ttyUSB0\""), line(9600, ModbusParity::None, false));
        assert_eq!(
            address("address=\"/dev/ttyUSB0\"\nbaud_rate=19200\nparity=\"even\"\nstop_bits=2"),
            line(19200, ModbusParity::Even, true)
        );
    }

    #[test]
    fn registers_are_of_the_device_of_a_child_or_of_all_children() {
        let toml = "address=\"tcp://plc\"\nunit_id=9\nchildren={north=3, south=4}\n\
                    [[registers]]\nname=\"flow\"\nkind=\"input\"\naddress=1\n\
                    [[registers]]\nname=\"load\"\nkind=\"input\"\naddress=2\nunit_id=7\n\
                    [[registers]]\nname=\"lid\"\nkind=\"coil\"\naddress=3\nchild=\"south\"\n\
                    [[registers]]\nname=\"lid\"\nkind=\"coil\"\naddress=3\nchild=\"tank\"\nunit_id=8\n";
        let read = config(toml).unwrap().registers;
        let units: Vec<_> = read.iter().map(|it| (it.sensor.as_str(), it.unit_id)).collect();
        let meant = [("north/flow", 3), ("south/flow", 4), ("load", 7), ("south/lid", 4), ("tank/lid", 8)];
        assert_eq!(units, meant);
        let alone = config(&format!("address=\"tcp://plc\"\nunit_id=9\n{ONE}")).unwrap();
        assert_eq!((alone.registers[0].sensor.as_str(), alone.registers[0].unit_id), ("t", 9));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_setting() {
        for (toml, told) in [
            ("address=\"plc:502\"", "address: \"plc:502\""),
            ("address=\"tcp://\"", "address"),
            ("address=\"tcp://plc:port\"", "address"),
            ("address=\"tcp://plc\"\nbaud_rate=9600", "baud_rate is of a serial line"),
            ("address=\"/dev/ttyS0\"\nbaud_rate=5", "baud_rate: 5 is not within 50 to 4000000"),
            ("address=\"/dev/ttyS0\"\nstop_bits=3", "stop_bits: 3"),
            ("address=\"/dev/ttyS0\"\nparity=\"mark\"", "mark"),
            ("address=\"/dev/ttyS0\"\nunit_id=248", "unit_id: 248 is not within 1 to 247"),
            ("address=\"tcp://plc\"\nunit_id=256", "unit_id: 256 is not within 0 to 255"),
            ("address=\"tcp://plc\"\nchildren={\"a/b\"=1}", "children: \"a/b\""),
            ("address=\"tcp://plc\"\nchildren={a=-1}", "children: a: unit_id: -1"),
            ("address=\"tcp://plc\"\ninterval_ms=1", "interval_ms: 1 is not within"),
            ("address=\"tcp://plc\"\ntimeout_ms=0", "timeout_ms: 0"),
            ("address=\"tcp://plc\"\ngap_max=101", "gap_max: 101"),
        ] {
            let said = config(&format!("{toml}\n{ONE}")).unwrap_err();
            assert!(said.contains(told), "{toml}: {said}");
        }
        let with = |registers: &str| config(&format!("address=\"tcp://plc\"\n{registers}")).unwrap_err();
        assert!(with("").contains("`registers` is empty"));
        assert!(with(&ONE.repeat(2)).contains("two are named \"t\""));
        let child = format!("children={{a=1}}\n{ONE}child=\"b\"\n");
        assert!(with(&child).contains("registers: t: child: there is no \"b\" in `children`"));
        let many: Vec<String> = (0..200).map(|n| format!("c{n}=1")).collect();
        let six: String = (0..6).map(|n| ONE.replace("\"t\"", &format!("\"t{n}\""))).collect();
        assert!(with(&format!("children={{{}}}\n{six}", many.join(","))).contains("1200 are too many"));
    }
}

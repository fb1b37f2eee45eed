//! `[[inputs.registers]]`: one sensor each.

use std::fmt;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use thiserror::Error;

use super::{OutOfRange, within};
use crate::limits::MODBUS_REGISTERS_MAX;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RegisterSettings {
    /// The sensor's.
    pub name: String,
    /// Which of a device's four tables it is in.
    pub kind: ModbusTable,
    /// As it is sent, from 0: what manuals call 40001 is holding register 0.
    pub address: i64,
    #[serde(rename = "type")]
    pub form: Option<RegisterType>,
    /// Which bit of a register a bool is, from 0, the lowest.
    pub bit: Option<i64>,
    /// Registers of a text.
    pub length: Option<i64>,
    /// How the bytes of a number or a text lie; ABCD where it is absent.
    pub byte_order: Option<ByteOrder>,
    /// Numbers are multiplied by this, then `offset` is added.
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    /// SenML's name of its unit (RFC 8428, RFC 8798).
    pub unit: Option<String>,
    /// Another device's than the input's.
    pub unit_id: Option<i64>,
    /// A device behind the one that is spoken to: its sensors are `child/name`.
    pub child: Option<String>,
}

/// Modbus Application Protocol, 4.3.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum ModbusTable {
    Coil,
    Discrete,
    Input,
    Holding,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum RegisterType {
    Number(NumberType),
    Bool,
    Text,
}

impl TryFrom<String> for RegisterType {
    type Error = RegisterError;

    fn try_from(name: String) -> Result<Self, RegisterError> {
        let number: Result<_, serde::de::value::Error> =
            NumberType::deserialize(name.as_str().into_deserializer());
        match (name.as_str(), number) {
            ("bool", _) => Ok(Self::Bool),
            ("text", _) => Ok(Self::Text),
            (_, Ok(number)) => Ok(Self::Number(number)),
            (_, Err(_)) => Err(RegisterError::Type(name)),
        }
    }
}

impl fmt::Display for ModbusTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Input => "input",
            Self::Holding => "holding",
        })
    }
}

/// How the bytes of a number lie in its registers, said for one of four bytes; A is the highest.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum ByteOrder {
    /// The highest first, as Modbus has it within a register.
    #[default]
    #[serde(rename = "ABCD")]
    Abcd,
    /// The lowest register first.
    #[serde(rename = "CDAB")]
    Cdab,
    /// The bytes of every register swapped.
    #[serde(rename = "BADC")]
    Badc,
    /// The lowest byte first.
    #[serde(rename = "DCBA")]
    Dcba,
}

/// What is read of one device under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// `name`, or `child/name`.
    pub sensor: String,
    pub child: Option<String>,
    pub unit_id: u8,
    pub table: ModbusTable,
    pub address: u16,
    pub form: Form,
    pub unit: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// A coil or discrete input.
    Bool,
    /// Of a register, from 0, the lowest.
    Bit(u8),
    Number {
        kind: NumberType,
        order: ByteOrder,
        scale: f64,
        offset: f64,
    },
    Text {
        registers: u16,
        order: ByteOrder,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

#[derive(Debug, Error)]
pub enum RegisterError {
    #[error("type: {0:?} is none of u16, i16, u32, i32, u64, i64, f32, f64, bool and text")]
    Type(String),
    #[error("name: a name is needed")]
    Name,
    #[error("child: {0:?}: a name is up to 64 letters, digits, '-', '_' and '.'")]
    ChildName(String),
    #[error("child: there is no {0:?} in `children`, and no unit_id")]
    NoChild(String),
    #[error("{0}")]
    Range(#[from] OutOfRange),
    #[error("address: it goes beyond register 65535")]
    Beyond,
    #[error("type: a coil or discrete input is a bool")]
    OnlyBool,
    #[error("bit: a bool in a register needs it, 0 (the lowest) to 15")]
    NoBit,
    #[error("length: a text needs it, in registers")]
    NoLength,
    #[error("{0} does not go with this type")]
    NotOfType(&'static str),
    #[error("scale and offset must be finite numbers, scale not 0")]
    Scale,
}

impl ModbusTable {
    /// Of registers, not of bits.
    pub fn is_registers(self) -> bool {
        matches!(self, Self::Input | Self::Holding)
    }
}

impl NumberType {
    /// Registers that it takes.
    pub fn width(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

impl Form {
    /// Registers or bits that it takes.
    pub fn width(self) -> u16 {
        match self {
            Self::Bool | Self::Bit(_) => 1,
            Self::Number { kind, .. } => kind.width(),
            Self::Text { registers, .. } => registers,
        }
    }
}

impl RegisterSettings {
    /// As it is read of one device.
    pub(super) fn validate(&self, child: Option<String>, unit_id: u8) -> Result<Register, RegisterError> {
        if self.name.is_empty() {
            return Err(RegisterError::Name);
        }
        let address: u16 = within("address", self.address, 0, 65_535)?;
        let form = self.form()?;
        if u32::from(address) + u32::from(form.width()) > 65_536 {
            return Err(RegisterError::Beyond);
        }
        let sensor = child.as_ref().map_or(self.name.clone(), |child| format!("{child}/{}", self.name));
        Ok(Register { sensor, child, unit_id, table: self.kind, address, form, unit: self.unit.clone() })
    }

    fn form(&self) -> Result<Form, RegisterError> {
        let number = RegisterType::Number(NumberType::U16);
        let default = if self.kind.is_registers() { number } else { RegisterType::Bool };
        let form = self.form.unwrap_or(default);
        if !self.kind.is_registers() && form != RegisterType::Bool {
            return Err(RegisterError::OnlyBool);
        }
        let is_number = matches!(form, RegisterType::Number(_));
        let is_bit = form == RegisterType::Bool && self.kind.is_registers();
        let only = [
            ("bit", self.bit.is_some(), is_bit),
            ("length", self.length.is_some(), form == RegisterType::Text),
            ("byte_order", self.byte_order.is_some(), form != RegisterType::Bool),
            ("scale", self.scale.is_some(), is_number),
            ("offset", self.offset.is_some(), is_number),
        ];
        if let Some((key, ..)) = only.iter().find(|(_, is_given, fits)| *is_given && !fits) {
            return Err(RegisterError::NotOfType(key));
        }
        match form {
            RegisterType::Number(kind) => self.number(kind),
            RegisterType::Bool if is_bit => {
                Ok(Form::Bit(within("bit", self.bit.ok_or(RegisterError::NoBit)?, 0, 15)?))
            }
            RegisterType::Bool => Ok(Form::Bool),
            RegisterType::Text => {
                let length = self.length.ok_or(RegisterError::NoLength)?;
                let registers = within("length", length, 1, i64::from(MODBUS_REGISTERS_MAX))?;
                Ok(Form::Text { registers, order: self.byte_order.unwrap_or_default() })
            }
        }
    }

    fn number(&self, kind: NumberType) -> Result<Form, RegisterError> {
        let (scale, offset) = (self.scale.unwrap_or(1.0), self.offset.unwrap_or(0.0));
        if !scale.is_finite() || !offset.is_finite() || scale == 0.0 {
            return Err(RegisterError::Scale);
        }
        Ok(Form::Number { kind, order: self.byte_order.unwrap_or_default(), scale, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(toml: &str) -> Result<Register, String> {
        let toml = format!("name=\"t\"\n{toml}");
        let settings: RegisterSettings = toml::from_str(&toml).map_err(|error| error.message().to_owned())?;
        settings.validate(None, 1).map_err(|error| error.to_string())
    }

    #[test]
    fn a_register_is_a_number_of_16_bits_and_a_coil_a_bool_unless_said_otherwise() {
        let form = |toml: &str| register(toml).unwrap().form;
        let plain = |kind| Form::Number { kind, order: ByteOrder::Abcd, scale: 1.0, offset: 0.0 };
        assert_eq!(form("kind=\"holding\"\naddress=0"), plain(NumberType::U16));
        assert_eq!(form("kind=\"discrete\"\naddress=0"), Form::Bool);
        assert_eq!(form("kind=\"input\"\naddress=0\ntype=\"bool\"\nbit=15"), Form::Bit(15));
        let float = "kind=\"input\"\naddress=65534\ntype=\"f32\"\nbyte_order=\"CDAB\"\nscale=0.1\noffset=-40";
        let (order, scale, offset) = (ByteOrder::Cdab, 0.1, -40.0);
        assert_eq!(form(float), Form::Number { kind: NumberType::F32, order, scale, offset });
        let text = "kind=\"holding\"\naddress=7\ntype=\"text\"\nlength=8\nbyte_order=\"BADC\"";
        assert_eq!(form(text), Form::Text { registers: 8, order: ByteOrder::Badc });
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_setting() {
        for (toml, told) in [
            ("kind=\"holding\"\naddress=65536", "address: 65536 is not within 0 to 65535"),
            ("kind=\"holding\"\naddress=65535\ntype=\"u32\"", "beyond register 65535"),
            ("kind=\"holding\"\naddress=0\ntype=\"u8\"", "type: \"u8\" is none of u16, i16,"),
            ("kind=\"coils\"\naddress=0", "coils"),
            ("kind=\"coil\"\naddress=0\ntype=\"u16\"", "type: a coil"),
            ("kind=\"coil\"\naddress=0\nbit=1", "bit does not go"),
            ("kind=\"holding\"\naddress=0\ntype=\"bool\"", "bit: a bool"),
            ("kind=\"holding\"\naddress=0\ntype=\"bool\"\nbit=16", "bit: 16 is not within 0 to 15"),
            ("kind=\"holding\"\naddress=0\nlength=2", "length does not go"),
            ("kind=\"holding\"\naddress=0\ntype=\"text\"", "length: a text"),
            ("kind=\"holding\"\naddress=0\ntype=\"text\"\nlength=126", "length: 126"),
            ("kind=\"holding\"\naddress=0\ntype=\"text\"\nlength=2\nscale=2.0", "scale does not go"),
            ("kind=\"holding\"\naddress=0\nscale=0.0", "scale"),
            ("kind=\"holding\"\naddress=0\noffset=inf", "offset"),
            ("kind=\"holding\"\naddress=0\nbyte_order=\"ACBD\"", "ACBD"),
            ("kind=\"holding\"\naddress=0\nbyteorder=\"ABCD\"", "byteorder"),
        ] {
            let said = register(toml).unwrap_err();
            assert!(said.contains(told), "{toml}: {said}");
        }
    }
}

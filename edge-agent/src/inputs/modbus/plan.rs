//! From registers to requests: neighbours are asked for together.

use std::collections::BTreeMap;

use super::decode::Read;
use crate::config::{ModbusTable, Register};
use crate::limits::{MODBUS_BITS_MAX, MODBUS_REGISTERS_MAX};

/// What one request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub unit_id: u8,
    pub table: ModbusTable,
    pub address: u16,
    /// Registers or bits.
    pub count: u16,
    /// Which of the configured registers lie in it, by address; never empty.
    pub wanted: Vec<usize>,
}

/// What becomes one row: the registers of one child, or of the device itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub requests: Vec<Request>,
}

/// Groups in the order of their first registers. Between neighbours in one request lie at most `gap_max` that
/// nobody wants.
pub fn groups(registers: &[Register], gap_max: u16) -> Vec<Group> {
    let mut children: Vec<Option<&str>> = Vec::new();
    for register in registers {
        let child = register.child.as_deref();
        if !children.contains(&child) {
            children.push(child);
        }
    }
    let of = |child| Group { requests: requests(registers, child, gap_max) };
    children.into_iter().map(of).collect()
}

fn requests(registers: &[Register], child: Option<&str>, gap_max: u16) -> Vec<Request> {
    let mut tables: BTreeMap<(u8, ModbusTable), Vec<usize>> = BTreeMap::new();
    for (index, register) in registers.iter().enumerate() {
        if register.child.as_deref() == child {
            tables.entry((register.unit_id, register.table)).or_default().push(index);
        }
    }
    let mut requests = Vec::new();
    for mut wanted in tables.into_values() {
        wanted.sort_by_key(|index| registers[*index].address);
        let mut run: Vec<usize> = Vec::new();
        for index in wanted {
            let fits =
                Request::of(registers, &run).is_none_or(|request| request.takes(&registers[index], gap_max));
            if !fits {
                requests.extend(Request::of(registers, &std::mem::take(&mut run)));
            }
            run.push(index);
        }
        requests.extend(Request::of(registers, &run));
    }
    requests
}

/// The first address after it.
fn end(register: &Register) -> u32 {
    u32::from(register.address) + u32::from(register.form.width())
}

impl Request {
    /// For registers of one device and table, by address; none for none.
    fn of(registers: &[Register], wanted: &[usize]) -> Option<Self> {
        let first = &registers[*wanted.first()?];
        let end = wanted.iter().map(|index| end(&registers[*index])).max()?;
        let count = u16::try_from(end - u32::from(first.address)).ok()?;
        let (unit_id, table, address) = (first.unit_id, first.table, first.address);
        Some(Self { unit_id, table, address, count, wanted: wanted.to_vec() })
    }

    /// Whether a register that does not begin before it can be asked for with it.
    fn takes(&self, register: &Register, gap_max: u16) -> bool {
        let (start, own_end) = (u32::from(self.address), u32::from(self.address) + u32::from(self.count));
        let count_max = if self.table.is_registers() { MODBUS_REGISTERS_MAX } else { MODBUS_BITS_MAX };
        let gap = u32::from(register.address).saturating_sub(own_end);
        gap <= gap_max.into() && end(register).max(own_end) - start <= count_max.into()
    }

    /// Two requests for a half each, or none where only one register is wanted.
    pub fn halves(&self, registers: &[Register]) -> Option<(Self, Self)> {
        let (left, right) = self.wanted.split_at(self.wanted.len() / 2);
        Some((Self::of(registers, left)?, Self::of(registers, right)?))
    }

    /// What of the answer is a register's; none where it is not in it.
    pub fn part<'a>(&self, answer: Read<'a>, register: &Register) -> Option<Read<'a>> {
        let start = usize::from(register.address.checked_sub(self.address)?);
        let range = start..start + usize::from(register.form.width());
        match answer {
            Read::Words(words) => words.get(range).map(Read::Words),
            Read::Bits(bits) => bits.get(range).map(Read::Bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{ByteOrder, Form, NumberType};

    fn register(table: ModbusTable, address: u16, kind: NumberType) -> Register {
        let number = Form::Number { kind, order: ByteOrder::Abcd, scale: 1.0, offset: 0.0 };
        Register {
            sensor: format!("{table:?}{address}"),
            child: None,
            unit_id: 1,
            table,
            address,
            form: if table.is_registers() { number } else { Form::Bool },
            unit: None,
        }
    }

    fn holding(address: u16) -> Register {
        register(ModbusTable::Holding, address, NumberType::U16)
    }

    /// Address and count of each request.
    fn asked(registers: &[Register], gap_max: u16) -> Vec<(u16, u16)> {
        let groups = groups(registers, gap_max);
        let requests = groups.iter().flat_map(|group| &group.requests);
        requests.map(|request| (request.address, request.count)).collect()
    }

    #[test]
    fn neighbours_are_asked_for_together() {
        let registers = [holding(20), holding(10), register(ModbusTable::Holding, 11, NumberType::U32)];
        assert_eq!(asked(&registers, 7), [(10, 11)]);
        assert_eq!(asked(&registers, 6), [(10, 3), (20, 1)]);
        let within = [register(ModbusTable::Holding, 5, NumberType::F64), holding(6), holding(9)];
        assert_eq!(asked(&within, 0), [(5, 5)], "one may lie within another");
        let last = register(ModbusTable::Input, 65_532, NumberType::I64);
        assert_eq!(asked(&[last], 8), [(65_532, 4)]);
    }

    #[test]
    fn a_request_is_no_longer_than_an_answer_can_be() {
        let many: Vec<Register> = (0..130).map(holding).collect();
        assert_eq!(asked(&many, 0), [(0, 125), (125, 5)]);
        let wide: Vec<Register> =
            (0..63).map(|n| register(ModbusTable::Input, 2 * n, NumberType::F32)).collect();
        assert_eq!(asked(&wide, 0), [(0, 124), (124, 2)], "a number is not cut in two");
        let coils: Vec<Register> =
            (0..2001).map(|n| register(ModbusTable::Coil, n, NumberType::U16)).collect();
        assert_eq!(asked(&coils, 0), [(0, 2000), (2000, 1)]);
    }

    #[test]
    fn every_child_is_a_row_of_its_own() {
        let of = |child: Option<&str>, unit_id| {
            let child = child.map(str::to_owned);
            Register { child, unit_id, ..holding(1) }
        };
        let registers = [of(Some("b"), 2), of(None, 1), of(Some("a"), 3), of(Some("b"), 4)];
        let groups = groups(&registers, 8);
        let wanted: Vec<Vec<usize>> = groups
            .iter()
            .map(|group| group.requests.iter().flat_map(|it| it.wanted.clone()).collect())
            .collect();
        assert_eq!(wanted, [vec![0, 3], vec![1], vec![2]]);
        assert_eq!(groups[0].requests.len(), 2, "devices are asked one by one");
    }

    #[test]
    fn a_request_is_halved_between_registers() {
        let registers = [holding(1), holding(2), register(ModbusTable::Holding, 8, NumberType::U32)];
        let [group] = <[Group; 1]>::try_from(groups(&registers, 8)).unwrap();
        let (left, right) = group.requests[0].halves(&registers).unwrap();
        assert_eq!((left.address, left.count, right.address, right.count), (1, 1, 2, 8));
        assert!(left.halves(&registers).is_none());
    }

    fn any_register() -> impl Strategy<Value = Register> {
        let tables = [ModbusTable::Coil, ModbusTable::Discrete, ModbusTable::Input, ModbusTable::Holding];
        let kinds = [NumberType::U16, NumberType::F32, NumberType::U64];
        let places = (0..4usize, 0..400u16, 0..3usize, 1..3u8, prop::option::of(0..2u8));
        places.prop_map(move |(table, address, kind, unit_id, child)| Register {
            unit_id,
            child: child.map(|child| child.to_string()),
            ..register(tables[table], address, kinds[kind])
        })
    }

    proptest! {
        #[test]
        fn every_register_is_in_one_request_and_found_in_its_answer(
            registers in prop::collection::vec(any_register(), 1..80), gap_max in 0..20u16,
        ) {
            let mut seen = vec![0; registers.len()];
            for request in groups(&registers, gap_max).iter().flat_map(|group| &group.requests) {
                let count_max = if request.table.is_registers() { 125 } else { 2000 };
                prop_assert!(request.count <= count_max);
                let words: Vec<u16> = (request.address..request.address + request.count).collect();
                let bits: Vec<bool> = words.iter().map(|address| address % 3 == 0).collect();
                for index in &request.wanted {
                    let register = &registers[*index];
                    seen[*index] += 1;
                    prop_assert_eq!((register.unit_id, register.table), (request.unit_id, request.table));
                    let answer = match register.table.is_registers() {
                        true => Read::Words(&words),
                        false => Read::Bits(&bits),
                    };
                    match request.part(answer, register) {
                        Some(Read::Words(part)) => prop_assert_eq!(part[0], register.address),
                        Some(Read::Bits(part)) => prop_assert_eq!(part, [register.address % 3 == 0]),
                        None => prop_assert!(false, "{:?} is not in {:?}", register, request),
                    }
                }
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}

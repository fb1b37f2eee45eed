//! From what a device answered to what it measures.

use schemas::Value;

use crate::config::{ByteOrder, Form, NumberType};
use crate::inputs::value::{float_value, integer_value};

/// What was read at one register's place.
#[derive(Clone, Copy, Debug)]
pub enum Read<'a> {
    Words(&'a [u16]),
    Bits(&'a [bool]),
}

/// What it measures; `None` where there is nothing in it. As many words or bits as the form is wide are needed.
pub fn decode(form: Form, read: Read<'_>) -> Result<Option<Value>, &'static str> {
    const OTHER: &str = "it was answered with something else than asked for";
    match (form, read) {
        (Form::Bool, Read::Bits([bit])) => Ok(Some(Value::Bool(*bit))),
        (Form::Bit(bit), Read::Words([word])) => Ok(Some(Value::Bool(word >> bit & 1 == 1))),
        (Form::Number { kind, order, scale, offset }, Read::Words(words))
            if words.len() == usize::from(kind.width()) =>
        {
            number(kind, bits(words, order), scale, offset).map(Some)
        }
        (Form::Text { registers, order }, Read::Words(words)) if words.len() == usize::from(registers) => {
            text(words, order)
        }
        _ => Err(OTHER),
    }
}

fn swaps_bytes(order: ByteOrder) -> bool {
    matches!(order, ByteOrder::Badc | ByteOrder::Dcba)
}

fn swaps_words(order: ByteOrder) -> bool {
    matches!(order, ByteOrder::Cdab | ByteOrder::Dcba)
}

/// The words' bits as one number, of up to four words.
fn bits(words: &[u16], order: ByteOrder) -> u64 {
    let join = |bits: u64, word: &u16| {
        let word = if swaps_bytes(order) { word.swap_bytes() } else { *word };
        bits << 16 | u64::from(word)
    };
    if swaps_words(order) { words.iter().rev().fold(0, join) } else { words.iter().fold(0, join) }
}

/// Of the lowest bits, as many as the type has.
fn number(kind: NumberType, bits: u64, scale: f64, offset: f64) -> Result<Value, &'static str> {
    let integer: i128 = match kind {
        NumberType::U16 => (bits as u16).into(),
        NumberType::I16 => (bits as i16).into(),
        NumberType::U32 => (bits as u32).into(),
        NumberType::I32 => (bits as i32).into(),
        NumberType::U64 => bits.into(),
        NumberType::I64 => (bits as i64).into(),
        NumberType::F32 => return scaled(f32::from_bits(bits as u32).into(), scale, offset),
        NumberType::F64 => return scaled(f64::from_bits(bits), scale, offset),
    };
    if scale != 1.0 || offset != 0.0 {
        return scaled(integer as f64, scale, offset);
    }
    Ok(i64::try_from(integer).map_or(Value::Integer(integer), integer_value))
}

fn scaled(number: f64, scale: f64, offset: f64) -> Result<Value, &'static str> {
    if !number.is_finite() {
        return Err("NaN and infinities are no measurement");
    }
    float_value(number * scale + offset)
}

/// To the first NUL, without the spaces around it. The order of a number's registers is none of a text's.
fn text(words: &[u16], order: ByteOrder) -> Result<Option<Value>, &'static str> {
    let swaps = swaps_bytes(order);
    let arranged = |word: &u16| if swaps { word.to_le_bytes() } else { word.to_be_bytes() };
    let mut bytes: Vec<u8> = words.iter().flat_map(arranged).collect();
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let text = String::from_utf8(bytes).map_err(|_| "it is no text")?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| Value::Text(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [ByteOrder; 4] = [ByteOrder::Abcd, ByteOrder::Cdab, ByteOrder::Badc, ByteOrder::Dcba];

    fn form(kind: NumberType, order: ByteOrder) -> Form {
        Form::Number { kind, order, scale: 1.0, offset: 0.0 }
    }

    /// The registers that a device holds for a number whose bytes are these, the highest first.
    fn registers(bytes: &[u8], order: ByteOrder) -> Vec<u16> {
        let lay = |pair: &[u8]| match order {
            ByteOrder::Abcd | ByteOrder::Cdab => u16::from_be_bytes([pair[0], pair[1]]),
            ByteOrder::Badc | ByteOrder::Dcba => u16::from_le_bytes([pair[0], pair[1]]),
        };
        let mut words: Vec<u16> = bytes.chunks(2).map(lay).collect();
        if matches!(order, ByteOrder::Cdab | ByteOrder::Dcba) {
            words.reverse();
        }
        words
    }

    #[test]
    fn the_orders_are_what_their_names_say() {
        for (order, words) in
            ORDERS.into_iter().zip([[0x4048, 0xf5c3], [0xf5c3, 0x4048], [0x4840, 0xc3f5], [0xc3f5, 0x4840]])
        {
            let value = decode(form(NumberType::F32, order), Read::Words(&words));
            assert_eq!(value, Ok(Some(Value::Float(f64::from(f32::from_bits(0x4048_f5c3))))), "{order:?}");
        }
    }

    #[test]
    fn numbers_are_scaled_and_integers_stay_exact() {
        let scaled =
            Form::Number { kind: NumberType::I16, order: ByteOrder::Abcd, scale: 0.5, offset: -40.0 };
        assert_eq!(decode(scaled, Read::Words(&[0xfffe])), Ok(Some(Value::Float(-41.0))));
        let most = decode(form(NumberType::U64, ByteOrder::Abcd), Read::Words(&[0xffff; 4]));
        assert_eq!(most, Ok(Some(Value::Integer(u64::MAX.into()))));
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        for words in [[0x7fc0, 0], [0x7f80, 0], [0xff80, 0]] {
            assert!(decode(form(NumberType::F32, ByteOrder::Abcd), Read::Words(&words)).is_err());
        }
        assert!(decode(form(NumberType::F32, ByteOrder::Abcd), Read::Words(&[0])).is_err());
        assert!(decode(Form::Bool, Read::Words(&[1])).is_err());
        let huge = Form::Number { kind: NumberType::F64, order: ByteOrder::Abcd, scale: 1e300, offset: 0.0 };
        assert!(decode(huge, Read::Words(&registers(&1e300_f64.to_be_bytes(), ByteOrder::Abcd))).is_err());
    }

    #[test]
    fn bits_and_texts_are_read() {
        assert_eq!(decode(Form::Bit(3), Read::Words(&[0b1000])), Ok(Some(Value::Bool(true))));
        assert_eq!(decode(Form::Bit(0), Read::Words(&[0b1000])), Ok(Some(Value::Bool(false))));
        assert_eq!(decode(Form::Bool, Read::Bits(&[true])), Ok(Some(Value::Bool(true))));
        let text = |order, words: &[u16]| {
            let registers = u16::try_from(words.len()).unwrap();
            decode(Form::Text { registers, order }, Read::Words(words))
        };
        let pump = Ok(Some(Value::Text("PUMP".to_owned())));
        assert_eq!(text(ByteOrder::Abcd, &[0x5055, 0x4d50, 0x2000, 0x7878]), pump);
        assert_eq!(text(ByteOrder::Dcba, &[0x5550, 0x504d]), pump);
        assert_eq!(text(ByteOrder::Abcd, &[0, 0x4d50]), Ok(None));
        assert!(text(ByteOrder::Abcd, &[0xfffe]).is_err());
    }

    proptest! {
        #[test]
        fn numbers_come_back_from_every_order(bits in any::<u64>(), which in 0..4usize) {
            let order = ORDERS[which];
            let read = |kind, bytes: &[u8]| decode(form(kind, order), Read::Words(&registers(bytes, order)));
            let whole = |value: i128| Ok(Some(i64::try_from(value).map_or(Value::Integer(value), integer_value)));
            prop_assert_eq!(read(NumberType::U16, &(bits as u16).to_be_bytes()), whole((bits as u16).into()));
            prop_assert_eq!(read(NumberType::I16, &(bits as i16).to_be_bytes()), whole((bits as i16).into()));
            prop_assert_eq!(read(NumberType::U32, &(bits as u32).to_be_bytes()), whole((bits as u32).into()));
            prop_assert_eq!(read(NumberType::I32, &(bits as i32).to_be_bytes()), whole((bits as i32).into()));
            prop_assert_eq!(read(NumberType::U64, &bits.to_be_bytes()), whole(bits.into()));
            prop_assert_eq!(read(NumberType::I64, &(bits as i64).to_be_bytes()), whole((bits as i64).into()));
            let (short, long) = (f32::from_bits(bits as u32), f64::from_bits(bits));
            let float = |value: f64| value.is_finite().then_some(Value::Float(value));
            prop_assert_eq!(read(NumberType::F32, &short.to_be_bytes()).ok().flatten(), float(short.into()));
            prop_assert_eq!(read(NumberType::F64, &long.to_be_bytes()).ok().flatten(), float(long));
        }
    }
}

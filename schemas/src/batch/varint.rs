//! Zigzag varints as Kafka's records use them: at most 5 bytes for an i32, 10 for an i64.

/// Reads an i64; `None` where the input ends or the number has more than 64 bits.
#[inline]
pub fn read_i64(input: &mut &[u8]) -> Option<i64> {
    // Nearly all of a record's numbers are below 64.
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Some(unzigzag(u64::from(first)));
    }
    read_long(input)
}

fn read_long(input: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(unzigzag(number));
        }
    }
    None
}

/// Reads an i32; `None` where the input ends or the number does not fit.
#[inline]
pub fn read_i32(input: &mut &[u8]) -> Option<i32> {
    i32::try_from(read_i64(input)?).ok()
}

pub fn write_i64(output: &mut Vec<u8>, number: i64) {
    let mut rest = zigzag(number);
    while rest >= 0x80 {
        output.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}

/// How many bytes [`write_i64`] takes.
pub fn len_i64(number: i64) -> usize {
    let bits = 64 - zigzag(number).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        assert_eq!(read_i64(&mut &[0xff; 10][..]), None);
        assert_eq!(read_i64(&mut &[0x80; 11][..]), None);
        assert_eq!(read_i64(&mut &[][..]), None);
        assert_eq!(read_i64(&mut &[0x80][..]), None);
        let mut too_long = Vec::new();
        write_i64(&mut too_long, i64::from(i32::MAX) + 1);
        assert_eq!(read_i32(&mut too_long.as_slice()), None);
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(number in any::<i64>(), shift in 0..64) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            write_i64(&mut bytes, number);
            prop_assert_eq!(bytes.len(), len_i64(number));
            let mut input = bytes.as_slice();
            prop_assert_eq!(read_i64(&mut input), Some(number));
            prop_assert!(input.is_empty());
            let narrow = i32::try_from(number).ok();
            prop_assert_eq!(read_i32(&mut bytes.as_slice()), narrow);
        }
    }
}

//! Walks CBOR without recursion and without allocation for a length that it states.
//!
//! ```text
//! initial byte: major type (3 bits), additional information (5 bits)
//! additional information: 0–23 the argument itself; 24, 25, 26, 27 it follows in 1, 2, 4, 8 bytes; 31 indefinite
//! ```

const BREAK: u8 = 0xff;

/// What an open array, map, tag or indefinite string still waits for.
#[derive(Clone, Copy)]
enum Open {
    Items(u64),
    Break,
}

/// Whether `input` is exactly one item, nested no deeper than `depth_max`, with all its bytes there.
/// What stands in indefinite strings and whether maps come in pairs is left to the decoder.
pub fn is_well_formed(input: &[u8], depth_max: usize) -> bool {
    let mut walk = Walk { rest: input, open: Vec::with_capacity(depth_max), depth_max };
    walk.run().is_some() && walk.rest.is_empty()
}

struct Walk<'a> {
    rest: &'a [u8],
    open: Vec<Open>,
    depth_max: usize,
}

impl Walk<'_> {
    fn run(&mut self) -> Option<()> {
        loop {
            self.item()?;
            self.close();
            if self.open.is_empty() {
                return Some(());
            }
        }
    }

    /// Takes one item's head off, and its content where that is not items again.
    fn item(&mut self) -> Option<()> {
        let (&initial, rest) = self.rest.split_first()?;
        self.rest = rest;
        if initial == BREAK {
            return matches!(self.open.pop()?, Open::Break).then_some(());
        }
        let argument = self.argument(initial & 0x1f)?;
        match (initial >> 5, argument) {
            (0 | 1 | 7, Some(_)) => Some(()),
            (2 | 3, Some(length)) => self.skip(length),
            (4, Some(count)) => self.nest(Open::Items(count)),
            (5, Some(count)) => self.nest(Open::Items(count.checked_mul(2)?)),
            (6, Some(_)) => self.nest(Open::Items(1)),
            (2..=5, None) => self.nest(Open::Break),
            _ => None,
        }
    }

    /// The inner `None` is an indefinite length.
    fn argument(&mut self, additional: u8) -> Option<Option<u64>> {
        let bytes = match additional {
            0..=23 => return Some(Some(additional.into())),
            24..=27 => 1 << (additional - 24),
            31 => return Some(None),
            _ => return None,
        };
        let (argument, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(Some(argument.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(length).ok()?..)?;
        Some(())
    }

    fn nest(&mut self, open: Open) -> Option<()> {
        if self.open.len() == self.depth_max {
            return None;
        }
        // Every item has a byte at least.
        if let Open::Items(count) = open
            && count > self.rest.len() as u64
        {
            return None;
        }
        // It counts itself as an item of its parent when it closes.
        self.open.push(match open {
            Open::Items(count) => Open::Items(count + 1),
            Open::Break => Open::Break,
        });
        Some(())
    }

    /// After an item: closes what is complete with it.
    fn close(&mut self) {
        while let Some(Open::Items(count)) = self.open.last_mut() {
            *count -= 1;
            if *count > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_items_are_well_formed() {
        let cases: [&[u8]; 12] = [
            &[0x00],
            &[0x1b, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x80],
            &[0x82, 0x01, 0x80],
            &[0x81, 0x81, 0x81, 0x00],
            &[0xa1, 0x00, 0x61, b'a'],
            &[0x9f, 0x00, 0x01, 0xff],
            &[0xbf, 0x00, 0x01, 0xff],
            &[0x7f, 0x61, b'a', 0xff],
            &[0xc1, 0x00],
            &[0xf6],
            &[0x82, 0x9f, 0xff, 0xf9, 0, 0],
        ];
        for case in cases {
            assert!(is_well_formed(case, 4), "{case:02x?}");
            for cut in 0..case.len() {
                assert!(!is_well_formed(&case[..cut], 4), "{case:02x?} cut at {cut}");
            }
            assert!(!is_well_formed(&[case, &[0]].concat(), 4), "{case:02x?} and more");
        }
    }

    #[test]
    fn lengths_that_are_not_there_are_refused() {
        let huge: [&[u8]; 5] = [
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            &[0xff],
            &[0x1f],
        ];
        for case in huge {
            assert!(!is_well_formed(case, 4), "{case:02x?}");
        }
    }

    #[test]
    fn depth_is_bounded_for_arrays_maps_tags_and_indefinite_ones() {
        for nesting in [0x81, 0xc1, 0x9f] {
            let deep = vec![nesting; 100_000];
            assert!(!is_well_formed(&deep, 4));
        }
        assert!(is_well_formed(&[0x81, 0x81, 0x00], 2));
        assert!(!is_well_formed(&[0x81, 0x81, 0x81, 0x00], 2));
    }
}

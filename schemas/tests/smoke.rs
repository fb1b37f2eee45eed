//! The fuzz targets over the golden files and what becomes of them when they are mutated: a short run of
//! what `cargo fuzz` does for hours, the same every time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

const ROUNDS: usize = 300;
const SEED: u64 = 0x6865_6164_7761_7465;

/// xorshift64*: enough to choose bytes with, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(bits).unwrap() % bound.max(1)
    }
}

/// One small mutation, as a fuzzer makes them.
fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(input.len());
    match (random.below(6), input.get_mut(at)) {
        (_, None) => input.push(random.below(256) as u8),
        (0, Some(byte)) => *byte ^= 1 << random.below(8),
        (1, Some(byte)) => *byte = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        (2, _) => input.truncate(at),
        (3, _) => input.insert(at, random.below(256) as u8),
        (4, _) => drop(input.remove(at)),
        (_, _) => {
            let piece = input[at..(at + 8).min(input.len())].to_vec();
            input.extend_from_slice(&piece);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut seeds: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    // Bodies alone, behind a compression and a count, for the target that wants them so.
    for batch in seeds.clone().iter().filter(|seed| seed.len() > 61) {
        seeds.push([&[batch[22], batch[60]], &batch[61..]].concat());
    }
    let texts = [
        "headwater/v1/pump-7/batch/telemetry/3",
        "telemetry=4",
        "0___C2_B0C",
        "1 00000000-0000-0000-0000-000000001234 61500",
        "1 4611686018427387904 out-of-order",
    ];
    seeds.extend(texts.map(|text| text.as_bytes().to_vec()));
    // Packs of others, behind a choice of their encoding.
    seeds.push(
        br#"0[{"bn":"m/","bt":1.27e9,"bu":"A","bver":5,"n":"a","v":1},{"n":"b","t":-5,"vd":"aGk","s":2}]"#
            .to_vec(),
    );
    seeds.push(
        b"\x01\x82\xa4\x21\x62m/\x22\x1a\x4c\x0e\x86\xcc\x00\x61a\x02\xf9\x3e\x00\xa2\x00\x61b\x04\xf5"
            .to_vec(),
    );
    seeds
}

#[test]
fn no_decoder_panics_on_a_golden_file_or_its_mutants() {
    let seeds = seeds();
    assert!(seeds.len() > 15, "the golden files are there");
    let mut random = Random(SEED);
    for (name, target) in targets::TARGETS {
        for (index, seed) in seeds.iter().enumerate() {
            let mut input = seed.clone();
            for round in 0..ROUNDS {
                let run = std::panic::catch_unwind(|| target(&input));
                assert!(run.is_ok(), "{name}, seed file {index}, round {round}: {input:02x?}");
                // Mutations add up for a while, then the seed is taken afresh.
                if round % 8 == 0 {
                    input.clone_from(seed);
                }
                mutate(&mut input, &mut random);
            }
        }
    }
}

//! A request's body, bounded in size and time, and unpacked.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_ENCODING;
use tokio::time::timeout;

use super::answer::Refusal;

/// A body comes within this time.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
}

impl Packing {
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(coding) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Plain) };
        match coding.to_str() {
            Ok(coding) if coding.eq_ignore_ascii_case("gzip") => Ok(Self::Gzip),
            Ok(coding) if coding.eq_ignore_ascii_case("identity") => Ok(Self::Plain),
            _ => Err(Refusal::UnknownCoding),
        }
    }
}

/// What it may take of the memory, in bytes, before it has come.
pub fn size_hint(body: &Incoming, packing: Packing, bytes_max: usize) -> Result<usize, Refusal> {
    let length = body.size_hint().exact().map(usize::try_from);
    match (length, packing) {
        (Some(Ok(length)), _) if length > bytes_max => Err(Refusal::TooLarge(bytes_max)),
        (Some(Err(_)), _) => Err(Refusal::TooLarge(bytes_max)),
        (Some(Ok(length)), Packing::Plain) => Ok(length),
        (Some(Ok(length)), Packing::Gzip) => Ok(bytes_max + length),
        (None, _) => Ok(2 * bytes_max),
    }
}

pub async fn read(body: Incoming, packing: Packing, bytes_max: usize) -> Result<Bytes, Refusal> {
    let whole = timeout(BODY_WITHIN, Limited::new(body, bytes_max).collect()).await;
    let bytes = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge(bytes_max)),
        Ok(Err(error)) => return Err(Refusal::Unreadable(error.to_string())),
        Err(_) => return Err(Refusal::TooSlow(BODY_WITHIN)),
    };
    match packing {
        Packing::Plain => Ok(bytes),
        Packing::Gzip => unpack(&bytes, bytes_max).map(Bytes::from),
    }
}

fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::new();
    let mut bounded = MultiGzDecoder::new(packed).take(bytes_max as u64 + 1);
    match bounded.read_to_end(&mut plain) {
        Ok(_) if plain.len() > bytes_max => Err(Refusal::TooLarge(bytes_max)),
        Ok(_) => Ok(plain),
        Err(error) => Err(Refusal::Unreadable(format!("gzip: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_unpacked_is_bounded() {
        assert_eq!(unpack(&packed(b"m a=1"), 5).unwrap(), b"m a=1");
        assert!(matches!(unpack(&packed(b"m a=12"), 5), Err(Refusal::TooLarge(5))));
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000 && matches!(unpack(&bomb, 1 << 20), Err(Refusal::TooLarge(_))));
        let both = [packed(b"m a=1\n"), packed(b"m a=2")].concat();
        assert_eq!(unpack(&both, 100).unwrap(), b"m a=1\nm a=2");
        for wrong in [&b"m a=1"[..], &packed(b"m a=1")[..12], b""] {
            assert!(matches!(unpack(wrong, 100), Err(Refusal::Unreadable(_))), "{wrong:?}");
        }
    }
}

//! The device's name: given, or derived from the hardware, and fixed in the data directory at first use.
//!
//! It is the key of every record in the buffer, and a hub refuses those of another device: so it is also kept where they
//! are, and found there when every other file of it is gone.
//!
//! Never the host name: it is the same on every machine that was set up from one image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemas::DeviceId;
use thiserror::Error;

use crate::data_dir::{DataDir, DataDirError, create_file, replace_file};

#[derive(Debug, Error)]
pub enum DeviceIdFileError {
    #[error("{}: this directory belongs to device {fixed}, not to {given}", path.display())]
    Other { path: PathBuf, fixed: DeviceId, given: DeviceId },
    #[error(transparent)]
    Io(#[from] DataDirError),
}

/// What a file says of the name.
enum Found {
    Nothing,
    Id(DeviceId),
    Damaged(String),
}

/// The name that the directory has, or gets now.
pub fn fix(dir: &DataDir, given: Option<&DeviceId>) -> Result<DeviceId, DeviceIdFileError> {
    let path = dir.device_id();
    let fixed = match read_fixed(&path)? {
        Found::Id(fixed) => fixed,
        Found::Damaged(why) => mend(dir, given, &why),
        Found::Nothing if dir.device_id_copies().iter().any(|copy| copy.exists()) => {
            mend(dir, given, "it is missing")
        }
        Found::Nothing => {
            let id = given.cloned().unwrap_or_else(|| derive(Path::new("/")));
            match create_file(&path, line(&id).as_bytes())? {
                true => id,
                // Another command was first.
                false => match read_fixed(&path)? {
                    Found::Id(fixed) => fixed,
                    Found::Nothing | Found::Damaged(_) => id,
                },
            }
        }
    };
    if let Some(given) = given.filter(|given| **given != fixed) {
        return Err(DeviceIdFileError::Other { path, fixed, given: given.clone() });
    }
    keep_copy(dir, &fixed);
    Ok(fixed)
}

/// A file that says nothing any more is no reason to stop: a copy has the name, else the configuration, else the hardware
/// that gave it at first.
fn mend(dir: &DataDir, given: Option<&DeviceId>, why: &str) -> DeviceId {
    let path = dir.device_id();
    let copy = dir.device_id_copies().iter().find_map(|path| match read_fixed(path) {
        Ok(Found::Id(id)) => Some(id),
        _ => None,
    });
    let id = copy.or_else(|| given.cloned()).unwrap_or_else(|| derive(Path::new("/")));
    tracing::warn!(path = %path.display(), why, device = %id, "the file of the device's name is written anew");
    if let Err(error) = replace_file(&path, line(&id).as_bytes()) {
        tracing::warn!(%error, "the device's name cannot be written anew");
    }
    id
}

fn keep_copy(dir: &DataDir, id: &DeviceId) {
    keep(&dir.device_id_copy(), id);
    keep_beside_records(dir, id);
}

/// Keeps the name where the records are, once there is a place for them.
pub fn keep_beside_records(dir: &DataDir, id: &DeviceId) {
    let [_, beside, _] = dir.device_id_copies();
    if dir.buffer().exists() {
        keep(&beside, id);
    }
}

fn keep(copy: &Path, id: &DeviceId) {
    let is_there = matches!(read_fixed(copy), Ok(Found::Id(known)) if known == *id);
    if !is_there && let Err(error) = replace_file(copy, line(id).as_bytes()) {
        tracing::warn!(%error, "the copy of the device's name cannot be written");
    }
}

fn line(id: &DeviceId) -> String {
    format!("{id}\n")
}

fn read_fixed(path: &Path) -> Result<Found, DeviceIdFileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(match DeviceId::try_from(text.trim()) {
            Ok(id) => Found::Id(id),
            Err(error) => Found::Damaged(error.to_string()),
        }),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(Found::Nothing),
            io::ErrorKind::PermissionDenied => {
                Err(DataDirError { path: path.to_owned(), source: error }.into())
            }
            _ => Ok(Found::Damaged(error.to_string())),
        },
    }
}

/// Derives a name from what the machine below `root` says of itself.
fn derive(root: &Path) -> DeviceId {
    let found = board_serial(root)
        .or_else(|| permanent_mac(root))
        .or_else(|| machine_id(root))
        .unwrap_or_else(|| format!("random-{:016x}", rand::random::<u64>()));
    DeviceId::try_from(found).expect("every source above is reduced to the alphabet and length of device ids")
}

fn read(root: &Path, path: &str) -> Option<String> {
    let bytes = fs::read(root.join(path)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// A single-board computer's serial from the device tree, else DMI's of the board or the product.
fn board_serial(root: &Path) -> Option<String> {
    let sources = [
        ("board", "sys/firmware/devicetree/base/serial-number"),
        ("board", "sys/class/dmi/id/board_serial"),
        ("product", "sys/class/dmi/id/product_serial"),
        ("product", "sys/class/dmi/id/product_uuid"),
    ];
    sources.into_iter().find_map(|(kind, path)| {
        let serial = read(root, path).filter(|serial| is_serial(serial))?;
        let kept: String =
            serial.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        Some(format!("{kind}-{}", kept.to_ascii_lowercase()))
    })
}

/// Makers leave placeholders; what has fewer than three different characters, or spaces, is one of them.
fn is_serial(serial: &str) -> bool {
    let lower = serial.to_ascii_lowercase();
    let mut distinct: Vec<char> = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let placeholders =
        ["none", "default", "not specified", "unknown", "0123456789", "system", "filled", "n/a"];
    serial.len() >= 6
        && !serial.contains(' ')
        && distinct.len() >= 3
        && !placeholders.iter().any(|placeholder| lower.contains(placeholder))
}

/// The lowest permanent, universally administered address of the machine's interfaces.
fn permanent_mac(root: &Path) -> Option<String> {
    let mut found: Vec<String> = fs::read_dir(root.join("sys/class/net"))
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter(|entry| {
            fs::read_to_string(entry.path().join("addr_assign_type")).is_ok_and(|kind| kind.trim() == "0")
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("address")).ok())
        .filter_map(|address| universal_mac(address.trim()))
        .collect();
    found.sort_unstable();
    found.into_iter().next().map(|mac| format!("mac-{mac}"))
}

fn universal_mac(address: &str) -> Option<String> {
    let octets: Vec<u8> =
        address.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>().ok()?;
    let [first, ..] = *octets.as_slice() else { return None };
    let is_universal = first & 0b11 == 0 && octets.len() == 6 && octets.iter().any(|octet| *octet != 0);
    is_universal.then(|| octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// machine-id is confidential (machine-id(5)): only a hash of it leaves the machine.
fn machine_id(root: &Path) -> Option<String> {
    let id = read(root, "etc/machine-id").filter(|id| id.len() == 32)?;
    let salted = uuid::Uuid::parse_str(&id).ok()?.as_u128();
    Some(format!("machine-{:016x}", mix(salted)))
}

/// splitmix64's finaliser over both halves: one way enough that the id cannot be read off.
fn mix(id: u128) -> u64 {
    let step = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let high = u64::try_from(id >> 64).expect("64 bits are left");
    let low = u64::try_from(id & u128::from(u64::MAX)).expect("64 bits are left");
    step(step(high ^ 0x6865_6164_7761_7465).wrapping_add(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn derived(files: &[(&str, &str)]) -> String {
        derive(machine(files).path()).to_string()
    }

    const MACHINE_ID: (&str, &str) = ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
    const DMI: &str = "sys/class/dmi/id/product_serial";

    #[test]
    fn the_boards_serial_comes_first() {
        let board = ("sys/firmware/devicetree/base/serial-number", "10000000abcdef01\0");
        assert_eq!(derived(&[board, (DMI, "PF1X2Y3Z"), MACHINE_ID]), "board-10000000abcdef01");
        assert_eq!(derived(&[(DMI, "PF1X2Y3Z\n"), MACHINE_ID]), "product-pf1x2y3z");
    }

    #[test]
    fn placeholders_and_local_addresses_do_not_count() {
        let eth = |address| {
            [
                ("sys/class/net/eth0/address", address),
                ("sys/class/net/eth0/addr_assign_type", "0\n"),
                ("sys/class/net/eth0/device/x", ""),
                (DMI, "To Be Filled By O.E.M."),
                MACHINE_ID,
            ]
        };
        assert_eq!(derived(&eth("b8:27:eb:01:02:03\n")), "mac-b827eb010203");
        assert!(derived(&eth("02:42:ac:11:00:02\n")).starts_with("machine-"));
        for placeholder in ["Not Specified", "0000000000", "Default string", "None", "123"] {
            assert!(derived(&[(DMI, placeholder), MACHINE_ID]).starts_with("machine-"), "{placeholder}");
        }
    }

    #[test]
    fn machine_id_itself_is_not_shown() {
        let id = derived(&[MACHINE_ID]);
        assert_eq!(id, derived(&[MACHINE_ID]));
        assert!(id.starts_with("machine-") && !id.contains("3d1219c7"), "{id}");
        assert!(derived(&[]).starts_with("random-"));
    }

    #[test]
    fn a_name_stays_and_another_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        let first = fix(&dir, Some(&DeviceId::try_from("pump-1").unwrap())).unwrap();
        assert_eq!(fix(&dir, None).unwrap(), first);
        assert_eq!(fix(&dir, Some(&first)).unwrap(), first);
        let other = fix(&dir, Some(&DeviceId::try_from("pump-2").unwrap())).unwrap_err().to_string();
        assert!(other.contains("belongs to device pump-1, not to pump-2"), "{other}");
    }

    #[test]
    fn a_damaged_file_gets_the_name_of_its_copy_then_the_given_then_the_hardwares() {
        let pump = DeviceId::try_from("pump-1").unwrap();
        let zeros: &[u8] = &[0; 7];
        for damaged in [b"".as_slice(), zeros, b"\xff\xfe", b"a name with spaces\n"] {
            let folder = tempfile::tempdir().unwrap();
            let dir = DataDir::create(folder.path()).unwrap();
            fix(&dir, Some(&pump)).unwrap();
            fs::write(dir.device_id(), damaged).unwrap();
            assert_eq!(fix(&dir, None).unwrap(), pump);
            assert_eq!(fs::read(dir.device_id()).unwrap(), b"pump-1\n", "it is written anew");
            fs::write(dir.device_id(), damaged).unwrap();
            let other = fix(&dir, Some(&DeviceId::try_from("pump-2").unwrap()));
            assert!(matches!(other, Err(DeviceIdFileError::Other { .. })), "{other:?}");
            for (given, is_expected) in [(Some(&pump), true), (None, false)] {
                for path in [dir.device_id(), dir.device_id_copy()] {
                    fs::write(path, damaged).unwrap();
                }
                let id = fix(&dir, given).unwrap();
                assert_eq!(id == pump, is_expected, "{id}");
                assert_eq!(fix(&dir, None).unwrap(), id, "it stays");
            }
        }
    }

    #[test]
    fn a_missing_file_gets_the_name_of_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        let pump = DeviceId::try_from("pump-1").unwrap();
        fix(&dir, Some(&pump)).unwrap();
        fs::remove_file(dir.device_id()).unwrap();
        assert_eq!(fix(&dir, None).unwrap(), pump);
        assert_eq!(fs::read(dir.device_id()).unwrap(), b"pump-1\n", "it is written anew");
        fs::remove_file(dir.device_id()).unwrap();
        let other = fix(&dir, Some(&DeviceId::try_from("pump-2").unwrap()));
        assert!(matches!(other, Err(DeviceIdFileError::Other { .. })), "{other:?}");
    }

    #[test]
    fn when_both_files_are_gone_the_name_is_that_of_the_records() {
        let pump = DeviceId::try_from("pump-1").unwrap();
        for set_aside in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let dir = DataDir::create(folder.path()).unwrap();
            fix(&dir, Some(&pump)).unwrap();
            fs::create_dir(dir.buffer()).unwrap();
            keep_beside_records(&dir, &pump);
            if set_aside {
                fs::rename(dir.buffer(), dir.damaged()).unwrap();
            }
            for gone in [dir.device_id(), dir.device_id_copy()] {
                fs::remove_file(gone).unwrap();
            }
            let other = fix(&dir, Some(&DeviceId::try_from("pump-2").unwrap()));
            assert!(matches!(other, Err(DeviceIdFileError::Other { .. })), "{other:?}");
            for gone in [dir.device_id(), dir.device_id_copy()] {
                let _ = fs::remove_file(gone);
            }
            assert!(DataDir::existing(folder.path()).is_ok());
            assert_eq!(fix(&dir, None).unwrap(), pump);
            assert_eq!(fs::read(dir.device_id()).unwrap(), b"pump-1\n", "it is written anew");
            assert_eq!(fs::read(dir.device_id_copy()).unwrap(), b"pump-1\n");
        }
    }

    #[test]
    fn a_directory_of_an_earlier_release_gets_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        fs::write(dir.device_id(), "pump-1\n").unwrap();
        fix(&dir, None).unwrap();
        assert_eq!(fs::read(dir.device_id_copy()).unwrap(), b"pump-1\n");
    }
}

//! The device's name: given, or derived from the hardware, and fixed in the data directory at first use.
//!
//! Never the host name: it is the same on every machine that was set up from one image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemas::DeviceId;
use thiserror::Error;

use crate::data_dir::{DataDir, DataDirError, create_file};

#[derive(Debug, Error)]
pub enum DeviceIdFileError {
    #[error("{}: this directory belongs to device {fixed}, not to {given}", path.display())]
    Other { path: PathBuf, fixed: DeviceId, given: DeviceId },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error(transparent)]
    Io(#[from] DataDirError),
}

/// The name that the directory has, or gets now.
pub fn fix(dir: &DataDir, given: Option<&DeviceId>) -> Result<DeviceId, DeviceIdFileError> {
    let path = dir.device_id();
    let fixed = match read_fixed(&path)? {
        Some(fixed) => fixed,
        None => {
            let id = given.cloned().unwrap_or_else(|| derive(Path::new("/")));
            if create_file(&path, format!("{id}\n").as_bytes())? {
                return Ok(id);
            }
            // Another command was first.
            read_fixed(&path)?.unwrap_or(id)
        }
    };
    match given {
        Some(given) if *given != fixed => Err(DeviceIdFileError::Other { path, fixed, given: given.clone() }),
        _ => Ok(fixed),
    }
}

fn read_fixed(path: &Path) -> Result<Option<DeviceId>, DeviceIdFileError> {
    match fs::read_to_string(path) {
        Ok(text) => match DeviceId::try_from(text.trim()) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(DeviceIdFileError::Damaged { path: path.to_owned(), what: error.to_string() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError { path: path.to_owned(), source }.into()),
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
}

//! The secret that makes an erased entity's hash worthless to whoever does not have it.

use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use thyme_core::{Error, Result};
use thyme_log::Disk;

use crate::beside::{read, seal, unseal, write_durably};

const NEW_FILE: &str = "erase.key.new";
const MAGIC: &[u8; 8] = b"THYMEERK";
const FORMAT_VERSION: u32 = 1;
/// The block of SHA-256, which HMAC pads its key to.
const BLOCK: usize = 64;

/// 32 random bytes.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// 32 bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|io| Error::unavailable(format!("reading /dev/urandom for a secret: {io}")))?;
    Ok(bytes)
}

impl Secret {
    /// Its file beside the log. A disk keeps it for its owner alone.
    pub const FILE: &str = "erase.key";

    /// The secret beside a log, if there is one.
    ///
    /// # Errors
    /// `Corrupt` when its bytes are not what was written: with another secret a source could bring back who was
    /// erased.
    pub fn load(disk: &dyn Disk) -> Result<Option<Secret>> {
        let Some(bytes) = read(disk, Self::FILE)? else { return Ok(None) };
        Secret::decode(&bytes).map(Some).ok_or_else(|| {
            Error::corrupt(format!(
                "{} is not what was written, so entities that were erased could not be told from others; restore it from a backup",
                disk.path(Self::FILE)
            ))
        })
    }

    /// A new one; kept beside the log if that is on a disk.
    pub fn create(disk: Option<&dyn Disk>) -> Result<Secret> {
        let secret = Secret(random()?);
        if let Some(disk) = disk {
            let bytes = seal(MAGIC, FORMAT_VERSION, |bytes| {
                bytes.extend_from_slice(&secret.0);
                Ok(())
            })?;
            write_durably(disk, NEW_FILE, Self::FILE, &bytes)?;
        }
        Ok(secret)
    }

    fn decode(bytes: &[u8]) -> Option<Secret> {
        // Those of earlier Thymes are the secret alone.
        if let Ok(secret) = bytes.try_into() {
            return Some(Secret(secret));
        }
        let (version, secret) = unseal(MAGIC, bytes)?;
        Some(Secret(secret.try_into().ok().filter(|_| version == FORMAT_VERSION)?))
    }

    /// HMAC-SHA-256 of a dataset's name and an encoded entity key.
    pub fn hash(&self, dataset: &str, key: &[u8]) -> [u8; 32] {
        let pad = |with: u8| {
            let mut block = [with; BLOCK];
            block.iter_mut().zip(self.0).for_each(|(byte, secret)| *byte ^= secret);
            block
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update((dataset.len() as u64).to_le_bytes())
            .chain_update(dataset)
            .chain_update(key)
            .finalize();
        Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
    }
}

/// Bytes as hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [`hex`].
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_hmac_sha_256() {
        // RFC 4231, test case 1, has a key of 20 bytes; padding with zeros to 32 is the same key.
        let mut key = [0; 32];
        key[..20].copy_from_slice(&[0x0b; 20]);
        let inner = |data: &[u8]| {
            let pad = |with: u8| {
                let mut block = [with; 64];
                block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
                block
            };
            let inner = Sha256::new().chain_update(pad(0x36)).chain_update(data).finalize();
            let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
            hex(&outer)
        };
        assert_eq!(inner(b"Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let mut data = 1_u64.to_le_bytes().to_vec();
        data.extend_from_slice(b"Dkey");
        assert_eq!(hex(&Secret(key).hash("D", b"key")), inner(&data));
    }

    #[test]
    fn a_secret_is_kept_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let disk = thyme_log::DirDisk::open(dir.path()).unwrap();
        assert!(Secret::load(&disk).unwrap().is_none());
        let made = Secret::create(Some(&disk)).unwrap();
        let again = Secret::load(&disk).unwrap().unwrap();
        assert_eq!(made.hash("D", b"k"), again.hash("D", b"k"));
        let path = dir.path().join(Secret::FILE);
        let written = std::fs::read(&path).unwrap();
        for at in 0..written.len() {
            let mut damaged = written.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Secret::load(&disk).unwrap_err().to_string().contains("erase.key"), "byte {at}");
            std::fs::write(&path, &written[..at]).unwrap();
            assert_eq!(Secret::load(&disk).is_ok(), at == 32, "{at} bytes");
        }
        std::fs::write(&path, made.0).unwrap();
        assert_eq!(made.hash("D", b"k"), Secret::load(&disk).unwrap().unwrap().hash("D", b"k"));
        let mode = std::fs::metadata(dir.path().join(Secret::FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert!(unhex("0").is_none() && unhex("zz").is_none());
    }
}

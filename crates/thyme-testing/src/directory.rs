//! Directories as a crash leaves them.

use std::fs;
use std::io;
use std::path::Path;

/// Copies what is in the directory `from` now into `to`, which is made if need be.
///
/// # Errors
/// As the file system says.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

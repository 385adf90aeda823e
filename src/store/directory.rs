//! Claiming the data directory: made private, and locked for as long as the process has it open.

use super::StoreFault;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A data directory that is ours. Cheap to clone; it is released when the last clone is gone.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
    /// Keeps it ours.
    _lock: Arc<File>,
}

impl DataDirectory {
    /// Claims it, and makes it if need be (mode 0700).
    ///
    /// Errors: [`StoreFault::InUse`] where another process holds it, [`StoreFault::Directory`] where it cannot be used.
    pub fn claim(path: &Path) -> Result<Self, StoreFault> {
        Ok(Self {
            path: path.to_path_buf(),
            _lock: Arc::new(claim(path)?),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id under which a replica is known to those that it shares a database with: of its directory, so that a replica
    /// that starts again is the same. `new` makes one where there is none.
    pub fn replica_id(&self, new: impl FnOnce() -> String) -> Result<String, StoreFault> {
        let unusable = |fault| StoreFault::Directory(self.path.clone(), fault);
        let file = self.path.join("replica.id");
        match std::fs::read_to_string(&file) {
            Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
            Ok(_) => {}
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {}
            Err(fault) => return Err(unusable(fault)),
        }
        let id = new();
        std::fs::write(&file, &id).map_err(unusable)?;
        Ok(id)
    }
}

/// Makes the directory if need be (0700; one that exists keeps its mode) and locks `farebox.lock` in it. The lock
/// is the kernel's: it ends with the process, however that ends, so there is no stale one to clean up.
fn claim(data_dir: &Path) -> Result<File, StoreFault> {
    let unusable = |fault| StoreFault::Directory(data_dir.to_path_buf(), fault);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data_dir).map_err(unusable)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data_dir.join("farebox.lock"))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreFault::InUse(data_dir.to_path_buf())),
        Err(TryLockError::Error(fault)) => Err(unusable(fault)),
    }
}

//! The files of jobs: a folder each, with what it is, its labels and its answers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thyme_core::{Error, ErrorKind, Result};

use super::Job;

const JOB_FILE: &str = "job.json";

/// The folder of all jobs.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub fn new(folder: PathBuf) -> Files {
        Files { folder }
    }

    /// The jobs that there are. What a crash has left of one that had not begun is removed; what is not what was
    /// written stays.
    pub fn known(&self) -> Result<Known> {
        let failed = |io| failed("reading", &self.folder, &io);
        let mut known = Known::default();
        for path in folders(&self.folder).map_err(failed)? {
            match read(&path) {
                Ok(Some(job)) => known.jobs.push(job),
                Ok(None) => fs::remove_dir_all(&path).map_err(failed)?,
                Err(damaged) => known.damaged.push(damaged),
            }
        }
        Ok(known)
    }

    pub fn save(&self, job: &Job) -> Result<()> {
        let bytes = serde_json::to_vec(job).map_err(|e| Error::internal(format!("a job: {e}")))?;
        self.put(&job.id, JOB_FILE, &bytes)
    }

    pub fn put_labels(&self, id: &str, number: usize, bytes: &[u8]) -> Result<()> {
        let folder = self.folder.join(id);
        fs::create_dir_all(&folder).map_err(|io| failed("making", &folder, &io))?;
        self.put(id, &labels(number), bytes)
    }

    pub fn labels(&self, id: &str, number: usize) -> Result<Vec<u8>> {
        self.read(id, &labels(number))
    }

    pub fn put_answer(&self, id: &str, number: usize, bytes: &[u8]) -> Result<()> {
        self.put(id, &answer(number), bytes)
    }

    pub fn answer(&self, id: &str, number: usize) -> Result<Vec<u8>> {
        self.read(id, &answer(number))
    }

    pub fn remove(&self, id: &str) -> Result<()> {
        let folder = self.folder.join(id);
        fs::remove_dir_all(&folder).map_err(|io| failed("removing", &folder, &io))
    }

    /// Removes labels and answers, and not what the job was.
    pub fn remove_rows(&self, job: &Job) -> Result<()> {
        let folder = self.folder.join(&job.id);
        let removing = || {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name != JOB_FILE) {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        };
        removing().map_err(|io| failed("removing the rows of", &folder, &io))
    }

    fn read(&self, id: &str, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(id).join(name);
        fs::read(&path).map_err(|io| failed("reading", &path, &io))
    }

    /// Writes a file, whole or not at all.
    fn put(&self, id: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.folder.join(id);
        let (draft, path) = (folder.join(format!("{name}.new")), folder.join(name));
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|io| failed("writing", &path, &io))
    }
}

/// What is in the folder of all jobs.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub jobs: Vec<Job>,
    pub damaged: Vec<Damaged>,
}

/// A folder whose job cannot be read.
#[derive(Debug)]
pub(super) struct Damaged {
    pub name: String,
    /// A sentence.
    pub what: String,
    /// What its files take.
    pub bytes: u64,
}

/// What of the jobs in `folder` is not what was written: a sentence each. Nothing is changed.
///
/// # Errors
/// Unavailable: the disk.
pub(crate) fn examine(folder: &Path) -> Result<(usize, Vec<String>)> {
    let folders = folders(folder).map_err(|io| failed("reading", folder, &io))?;
    let damaged = folders.iter().filter_map(|path| read(path).err()).map(|damaged| damaged.what).collect();
    Ok((folders.len(), damaged))
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(io) => return Err(io),
    };
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort_unstable();
    Ok(folders)
}

/// The job in a folder; none if it has not begun.
fn read(folder: &Path) -> std::result::Result<Option<Job>, Damaged> {
    let path = folder.join(JOB_FILE);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let why = match fs::read(&path) {
        Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(io) => io.to_string(),
        Ok(bytes) => match serde_json::from_slice::<Job>(&bytes) {
            Ok(job) if job.id == name => return Ok(Some(job)),
            Ok(job) => format!("it is about job {}", job.id),
            Err(error) => format!("it is none: {error}"),
        },
    };
    let what = format!(
        "{} cannot be read as a job ({why}); its labels and answers are kept in {}",
        path.display(),
        folder.display()
    );
    let sizes =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok());
    Err(Damaged { name, what, bytes: sizes.map(|facts| facts.len()).sum() })
}

fn labels(number: usize) -> String {
    format!("labels-{number:06}")
}

fn answer(number: usize) -> String {
    format!("answer-{number:06}")
}

fn failed(what: &str, path: &Path, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what} {}: {io}", path.display()))
}

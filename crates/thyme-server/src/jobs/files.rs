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

    /// The jobs that there are. What a crash has left of one that had not begun is removed.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let failed = |io| failed("reading", &self.folder, &io);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(io) => return Err(failed(io)),
        };
        let mut jobs = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let job = fs::read(path.join(JOB_FILE))
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Job>(&bytes).ok());
            match job.filter(|job| path.file_name().is_some_and(|name| *name == *job.id)) {
                Some(job) => jobs.push(job),
                None => fs::remove_dir_all(&path).map_err(failed)?,
            }
        }
        Ok(jobs)
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

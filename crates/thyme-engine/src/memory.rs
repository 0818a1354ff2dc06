//! How much memory an engine may take, and what for.

use thyme_core::{Error, Result};
use thyme_store::Room;

const MIB: u64 = 1 << 20;
/// The least an engine can be told to get along with.
pub const MEMORY_MIN: u64 = 128 * MIB;
/// What a process takes that holds nothing: Python, the code, threads.
const IDLE: u64 = 64 * MIB;
/// What is assumed of a machine that does not say how much memory it has.
const MACHINE_UNKNOWN: u64 = 4 << 30;

/// What memory is for. The parts are a plan, not all that a process takes: copies on the way and what the
/// allocator cannot give back come on top, so they make up well under the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The whole, as an operator said it.
    pub total: u64,
    /// Bytes of timelines.
    pub timelines: usize,
    /// Bytes of pushes and of records, from where they come in until they are in the timelines.
    pub records: usize,
    /// What the store takes.
    pub store: Room,
}

impl Memory {
    /// The parts of `total` bytes.
    ///
    /// # Errors
    /// InvalidData for less than [`MEMORY_MIN`].
    pub fn of(total: u64) -> Result<Memory> {
        if total < MEMORY_MIN {
            return Err(Error::invalid_data(format!(
                "memory of {}: the least is {}",
                show(total),
                show(MEMORY_MIN)
            )));
        }
        Ok(Memory::divide(total))
    }

    /// Half of what the machine, or the container, has.
    pub fn of_machine() -> Memory {
        Memory::divide((machine() / 2).max(MEMORY_MIN))
    }

    fn divide(total: u64) -> Memory {
        let rest = total.saturating_sub(IDLE);
        Memory {
            total,
            timelines: (rest / 20 * 11) as usize,
            records: (rest / 16).clamp(4 * MIB, 64 * MIB) as usize,
            store: Room {
                cache: (rest / 8).clamp(4 * MIB, 1024 * MIB),
                memtable: (rest / 48).clamp(MIB, 8 * MIB),
            },
        }
    }

    /// Reads `512MiB`, `2GiB`, or a number of bytes.
    ///
    /// # Errors
    /// InvalidData for anything else, and as [`Memory::of`].
    pub fn parse(text: &str) -> Result<Memory> {
        let wrong = || {
            Error::invalid_data(format!(
                "\"{text}\" is not an amount of memory: expected a number with KiB, MiB or GiB, such as \"512MiB\""
            ))
        };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => MIB,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        Memory::of(number.checked_mul(factor).ok_or_else(wrong)?)
    }
}

/// An amount of memory in the largest unit that divides it.
fn show(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    format!("{bytes} bytes")
}

/// Bytes of memory that the machine has, or that its container may take.
fn machine() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let installed = read("/proc/meminfo").and_then(|text| meminfo_total(&text));
    let cgroups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let allowed = cgroups.iter().filter_map(|path| read(path)?.trim().parse().ok()).min();
    installed.into_iter().chain(allowed).min().unwrap_or(MACHINE_UNKNOWN)
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        for (text, total) in
            [("128MiB", 128 * MIB), ("2GiB", 2 << 30), (" 262144 KiB ", 256 * MIB), ("134217728", 128 * MIB)]
        {
            assert_eq!(Memory::parse(text).map(|m| m.total).ok(), Some(total), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "256MB", "256 mib", "-1GiB", "99999999999999GiB"] {
            let error = Memory::parse(text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("is not an amount of memory"), "{text}: {error}");
        }
        let error = Memory::parse("64MiB").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("memory of 64 MiB: the least is 128 MiB"), "{error}");
    }

    #[test]
    fn the_parts_leave_room_for_what_is_not_planned() {
        for total in [MEMORY_MIN, 256 * MIB, 4 << 30, 256 << 30] {
            let memory = Memory::divide(total);
            let store = memory.store.cache + 5 * memory.store.memtable;
            let parts = memory.timelines as u64 + memory.records as u64 + store;
            assert!(IDLE + parts < total, "{total}: {memory:?}");
        }
    }

    #[test]
    fn a_machine_says_what_it_has() {
        let text = "MemFree:   1 kB\nMemTotal:       24684000 kB\n";
        assert_eq!(meminfo_total(text), Some(24_684_000 << 10));
        assert_eq!(meminfo_total("nothing"), None);
        assert!(machine() > 0);
    }
}

//! What the process takes of its machine, as Linux tells; elsewhere nothing is known of it.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What it takes now.
pub(super) struct Usage {
    /// Seconds since 1970.
    pub(super) started: f64,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) descriptors: usize,
    /// `None` if there is no limit.
    pub(super) most_descriptors: Option<u64>,
}

impl Usage {
    /// Of this process.
    pub(super) fn now() -> Option<Self> {
        let stat = Stat::read()?;
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            started: boot_time()? as f64 + stat.started as f64 / ticks,
            cpu_seconds: stat.cpu as f64 / ticks,
            resident_bytes: stat.resident_pages * page_size() as u64,
            virtual_bytes: stat.virtual_bytes,
            // Without the one by which the folder is read.
            descriptors: fs::read_dir("/proc/self/fd")
                .ok()?
                .count()
                .saturating_sub(1),
            most_descriptors: getrlimit(Resource::Nofile).current,
        })
    }
}

/// What proc(5) has in `/proc/self/stat`, in clock ticks where it is time.
struct Stat {
    cpu: u64,
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Numbers of the fields in `/proc/self/stat`; the first two, and the name between them, are cut off.
const USER: usize = 14;
const SYSTEM: usize = 15;
const STARTED: usize = 22;
const VIRTUAL: usize = 23;
const RESIDENT: usize = 24;

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program may have spaces in it, and brackets.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(USER)? + field(SYSTEM)?,
            started: field(STARTED)?,
            virtual_bytes: field(VIRTUAL)?,
            resident_pages: field(RESIDENT)?,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

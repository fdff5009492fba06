//! `nanod demo --load`, as its users start it: where it says that it can be looked at goes out.

use crate::{ANY, Process, nanod};

/// A demo whose services are kept busy. It is killed when it is dropped.
pub struct Demo {
    /// Its process.
    pub process: Process,
    /// The address of its status page.
    pub page: String,
    /// What `nanod` is to be run with to show its calls.
    pub top: Vec<String>,
}

impl Demo {
    /// Starts it, on free ports.
    ///
    /// # Panics
    ///
    /// If it ends, or does not say where it can be looked at.
    pub async fn start() -> Self {
        let mut command = nanod();
        command.args(["demo", "--load"]);
        command.args(["--http", ANY, "--quic", ANY, "--admin", ANY]);
        let mut process = Process::start(&mut command);
        let (mut page, mut top) = (None, None);
        loop {
            let line = process.line().await.expect("the demo stays");
            let line = line.trim();
            if line.starts_with("http://") {
                page = Some(line.to_owned());
            } else if let Some(arguments) = line.strip_prefix("nanod ") {
                top = Some(arguments.split(' ').map(str::to_owned).collect());
            } else if line.contains("Ctrl-C") {
                break;
            }
        }
        Self {
            process,
            page: page.expect("it says where the status page is"),
            top: top.expect("it says how to run nanod top"),
        }
    }
}

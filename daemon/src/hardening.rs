//! What every command does first, so that what it holds stays its own.

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, setrlimit, umask},
};

/// Files that the process makes are its owner's alone, unless it says otherwise, and it leaves no
/// core, which would hold keys and secrets.
pub fn begin() {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // To lower a limit is always allowed.
    let _ = setrlimit(Resource::Core, none);
}

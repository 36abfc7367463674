// SPDX-License-Identifier: Apache-2.0
//! `posix DIR [--mount-tests] [--fill] [FILTER…]`: what a POSIX filesystem owes its users, as one static program.
//!
//! Each test gets a directory of its own under DIR and prints one `ok`/`not ok` line; the exit status is 1 when any
//! failed. The program knows nothing of VexFS: the same binary runs on ext4, which is how the tests themselves are
//! tested. `--mount-tests` allows remounting, freezing and unmounting the filesystem at DIR (it must be a mount
//! point); `--fill` allows filling it up.

mod data;
mod direct;
mod dirs;
mod links;
mod mounts;
mod names;
mod perm;
mod rename;
mod space;
mod sys;
mod times;
mod xattr;

use std::io;
use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;

/// What a test may use.
pub struct Env {
    /// An empty directory of the test's own.
    pub dir: PathBuf,
    /// The mount point.
    pub root: PathBuf,
    /// The filesystem's type as /proc/mounts calls it.
    pub fstype: String,
    /// The mounted device.
    pub device: String,
}

impl Env {
    /// A path inside the test's directory.
    pub fn p(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether the program runs on the filesystem it was written for; others are the control group.
    pub fn is_vexfs(&self) -> bool {
        self.fstype == "vexfs"
    }
}

/// A test's name is the sentence it proves.
pub type Test = (&'static str, fn(&Env));

/// Lists test functions under their names.
#[macro_export]
macro_rules! tests {
    ($($f:ident),* $(,)?) => { &[$((stringify!($f), $f as fn(&$crate::Env))),*] };
}

/// Panics unless `result` failed with `errno`.
#[track_caller]
pub fn fails<T>(result: io::Result<T>, errno: i32) {
    match result {
        Ok(_) => panic!("succeeded; expected {}", io::Error::from_raw_os_error(errno)),
        Err(e) if e.raw_os_error() == Some(errno) => {}
        Err(e) => panic!("{e}; expected {}", io::Error::from_raw_os_error(errno)),
    }
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn mount_of(dir: &Path) -> (PathBuf, String, String) {
    let dir = dir.canonicalize().expect("DIR exists");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    let mut best = (PathBuf::from("/"), String::new(), String::new());
    for line in mounts.lines() {
        let mut f = line.split(' ');
        if let (Some(dev), Some(at), Some(ty)) = (f.next(), f.next(), f.next()) {
            if dir.starts_with(at) && at.len() >= best.0.as_os_str().len() {
                best = (at.into(), ty.into(), dev.into());
            }
        }
    }
    best
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: posix DIR [--mount-tests] [--fill] [FILTER…]");
        std::process::exit(2);
    };
    let args: Vec<String> = args.collect();
    let allowed = |flag: &str| args.iter().any(|a| a == flag);
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();

    let mut all: Vec<Test> = Vec::new();
    for group in [
        names::TESTS,
        dirs::TESTS,
        links::TESTS,
        rename::TESTS,
        data::TESTS,
        direct::TESTS,
        times::TESTS,
        perm::TESTS,
        xattr::TESTS,
        space::TESTS,
    ] {
        all.extend_from_slice(group);
    }
    if allowed("--fill") {
        all.extend_from_slice(space::FILL_TESTS);
    }
    if allowed("--mount-tests") {
        all.extend_from_slice(mounts::TESTS);
    }

    // SAFETY: changes this process's umask only; no thread runs yet.
    unsafe { libc::umask(0o022) };
    let (root, fstype, device) = mount_of(Path::new(&dir));
    println!("# {} on {} ({fstype})", device, root.display());
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        let mut last = LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner());
        if last.is_empty() {
            *last = text;
        }
    }));

    let (mut passed, mut failed) = (0, 0);
    for (name, test) in all {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let env = Env {
            dir: Path::new(&dir).join(name),
            root: root.clone(),
            fstype: fstype.clone(),
            device: device.clone(),
        };
        LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner()).clear();
        let result = catch_unwind(AssertUnwindSafe(|| {
            std::fs::create_dir_all(&env.dir).unwrap_or_else(|e| panic!("mkdir for the test: {e}"));
            test(&env);
        }));
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok {fstype}: {name}");
                if let Err(e) = std::fs::remove_dir_all(&env.dir) {
                    failed += 1;
                    println!("not ok {fstype}: {name}: cleaning up afterwards: {e}");
                }
            }
            Err(_) => {
                failed += 1;
                println!(
                    "not ok {fstype}: {name}: {}",
                    LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner())
                );
                // What is left would only disturb other tests' view of free space.
                let _ = std::fs::remove_dir_all(&env.dir);
            }
        }
    }
    println!("# posix on {fstype}: {passed} passed, {failed} failed");
    std::process::exit(if failed == 0 { 0 } else { 1 });
}

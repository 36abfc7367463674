// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! One static value for each call site: what a macro with a `static` in it would give, for functions with
//! `#[track_caller]`.

use core::cell::UnsafeCell;
use core::panic::Location;
use core::ptr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;

/// Longer names lose their beginning.
const NAME: usize = 48;

/// A call site and its value.
pub(crate) struct CallSite<K> {
    at: AtomicPtr<Location<'static>>,
    named: AtomicBool,
    /// "file:line", and a NUL. Written once, by whoever set `at`, before `named`.
    name: UnsafeCell<[u8; NAME]>,
    /// The value.
    pub(crate) value: K,
}

// SAFETY: `name` is written by one thread and read by others only after it set `named`, with release and acquire.
unsafe impl<K: Sync> Sync for CallSite<K> {}

impl<K> CallSite<K> {
    /// One that belongs to no call site yet.
    pub(crate) const fn new(value: K) -> Self {
        CallSite {
            at: AtomicPtr::new(ptr::null_mut()),
            named: AtomicBool::new(false),
            name: UnsafeCell::new([0; NAME]),
            value,
        }
    }

    /// The call site's "file:line", with a NUL at its end.
    pub(crate) fn name(&self) -> &[u8] {
        while !self.named.load(Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: it is not written to again.
        unsafe { &*self.name.get() }
    }

    fn set_name(&self, at: &Location<'_>) {
        let mut digits = [0; 10];
        let mut line = at.line();
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (line % 10) as u8;
            line /= 10;
            if line == 0 {
                break;
            }
        }
        let number = digits.len() - first;
        let file = at.file().as_bytes();
        let file = &file[file.len().saturating_sub(NAME - 2 - number)..];
        // SAFETY: `intern` calls this once, before anybody reads.
        let name = unsafe { &mut *self.name.get() };
        name[..file.len()].copy_from_slice(file);
        name[file.len()] = b':';
        name[file.len() + 1..file.len() + 1 + number].copy_from_slice(&digits[first..]);
        self.named.store(true, Ordering::Release);
    }
}

/// The entry of `sites` that belongs to `at`; nothing when all belong to other call sites.
pub(crate) fn intern<'a, K>(sites: &'a [CallSite<K>], at: &'static Location<'static>) -> Option<&'a CallSite<K>> {
    for site in sites {
        let mut owner = site.at.load(Ordering::Acquire);
        if owner.is_null() {
            let new = ptr::from_ref(at).cast_mut();
            match site
                .at
                .compare_exchange(owner, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    site.set_name(at);
                    return Some(site);
                }
                Err(other) => owner = other,
            }
        }
        // By content: the compiler may keep several copies of a location.
        // SAFETY: set once, from a reference that is good for ever.
        if ptr::eq(owner, at) || unsafe { &*owner } == at {
            return Some(site);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn here(sites: &[CallSite<()>]) -> Option<usize> {
        let site = intern(sites, Location::caller())?;
        sites
            .iter()
            .position(|p| ptr::eq(&p.value, &site.value) && ptr::eq(p, site))
    }

    #[test]
    fn every_call_site_has_a_key_of_its_own() {
        let sites = [const { CallSite::new(()) }; 100];
        for _ in 0..3 {
            // Call sites that share a line, and call sites that share a column.
            let first = [here(&sites), here(&sites), here(&sites)];
            let other = [here(&sites), here(&sites), here(&sites)];
            assert_eq!(first, [0, 1, 2].map(Some));
            assert_eq!(other, [3, 4, 5].map(Some));
        }
    }

    #[test]
    fn a_full_table_has_no_key_for_one_more_call_site() {
        let sites = [const { CallSite::new(()) }; 1];
        assert_eq!(here(&sites), Some(0));
        assert_eq!(here(&sites), None);
    }

    #[test]
    fn a_call_site_is_named_by_its_file_and_line() {
        let sites = [const { CallSite::new(()) }; 1];
        let line = line!() + 1;
        here(&sites);
        let name = core::str::from_utf8(sites[0].name()).expect("a path");
        assert!(
            name.trim_end_matches('\0')
                .ends_with(&std::format!("call_site.rs:{line}")),
            "{name}"
        );
        assert!(name.ends_with('\0'));
    }

    #[test]
    fn call_sites_met_by_several_threads_at_once_stay_apart() {
        let sites = [const { CallSite::new(()) }; 8];
        let found = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| [here(&sites), here(&sites), here(&sites), here(&sites)]));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert!(found.iter().all(|f| *f == found[0]));
        let mut slots = found[0];
        slots.sort_unstable();
        assert_eq!(slots, [0, 1, 2, 3].map(Some));
    }
}

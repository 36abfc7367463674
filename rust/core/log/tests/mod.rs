// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What the log's tests share: a device that records, and the image that a power cut leaves.

mod cuts;
mod format;
mod mounts;
mod sync;

use crate::format::Key;
use crate::mount::MountOptions;
use crate::testing::*;
use crate::txn::Reserve;
use crate::Fs;
use core::ops::Deref;
use core::ops::Range;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Arc as StdArc;
use std::sync::Mutex;
use std::vec::Vec;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::Event;
use vexfs_host::device::RamBackend;
use vexfs_host::device::RecordingBackend;
use vexfs_host::sync::Arc;
use vexfs_host::Error;
use vexfs_host::IoError;
use vexfs_host::Result;

type Model = BTreeMap<Key, Vec<u8>>;

const READ_ONLY: MountOptions = MountOptions {
    read_only: true,
    norecovery: false,
    cache_nodes: 4096,
    dirty_nodes: 4096,
};

/// A recording device, part of which may be bad, that can be made to call back before an operation.
struct Probe {
    rec: RecordingBackend,
    bad: Mutex<Range<u64>>,
    hook: Mutex<Option<Hook>>,
}

/// Gets the offset of a write, or `None` for a flush; returns whether it wants to be called again.
type Hook = Box<dyn FnMut(Option<u64>) -> bool + Send>;

impl Deref for Probe {
    type Target = RecordingBackend;

    fn deref(&self) -> &RecordingBackend {
        &self.rec
    }
}

impl Probe {
    /// Writes to these bytes fail.
    fn fail_writes(&self, range: Range<u64>) {
        *self.bad.lock().unwrap() = range;
    }

    fn before_each(&self, hook: impl FnMut(Option<u64>) -> bool + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    fn call(&self, offset: Option<u64>) -> Result<()> {
        // Not held while it runs, since it may use the device; what it does there calls nobody.
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            if hook(offset) {
                *self.hook.lock().unwrap() = Some(hook);
            }
        }
        match offset {
            Some(offset) if self.bad.lock().unwrap().contains(&offset) => Err(Error::Io(IoError {
                op: "write",
                offset,
                errno: 5,
            })),
            _ => Ok(()),
        }
    }
}

impl Backend for Probe {
    fn len(&self) -> u64 {
        self.rec.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.rec.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.call(Some(offset))?;
        self.rec.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        self.call(None)?;
        self.rec.flush()
    }

    fn write_fua(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.call(Some(offset))?;
        self.rec.write_fua(offset, data)
    }
}

/// A new filesystem on a device that records.
fn recorded(mib: u64) -> (StdArc<Probe>, Device) {
    recorded_with(mib, 4096)
}

fn recorded_with(mib: u64, block_size: u32) -> (StdArc<Probe>, Device) {
    let ram = ram(mib);
    format(&device(&ram), block_size);
    on(ram.duplicate())
}

/// A device with what is on `rec` now.
fn copy(rec: &RecordingBackend) -> (StdArc<Probe>, Device) {
    on(rec.contents())
}

fn on(ram: RamBackend) -> (StdArc<Probe>, Device) {
    let probe = StdArc::new(Probe {
        rec: RecordingBackend::from_ram(ram),
        bad: Mutex::new(0..0),
        hook: Mutex::new(None),
    });
    let dev = Device::from_backend(probe.clone());
    (probe, dev)
}

/// Puts item `k` in an operation of its own; returns its transaction group.
fn put(fs: &Fs, k: u64, v: &[u8]) -> u64 {
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    tx.put(&key(k), v).unwrap();
    tx.commit()
}

/// The same, synced.
fn put_sync(fs: &Fs, k: u64, v: &[u8]) {
    let txg = put(fs, k, v);
    fs.sync_txg(txg).unwrap();
}

/// Writes `len` blocks of `byte` and adopts them for item `k`, which says where they are and what they hold. Returns
/// the transaction group.
fn put_data(fs: &Fs, k: u64, len: u32, byte: u8) -> u64 {
    put_data_as(fs, k, len, byte, false)
}

/// The same; the log gets the checksum of the data.
fn put_checked(fs: &Fs, k: u64, len: u32, byte: u8) -> u64 {
    put_data_as(fs, k, len, byte, true)
}

fn put_data_as(fs: &Fs, k: u64, len: u32, byte: u8, checked: bool) -> u64 {
    let (block, len) = fs.alloc_data(0, len, false).unwrap();
    let data = std::vec![byte; len as usize * fs.block_size() as usize];
    fs.dev().write(fs.geometry().byte(block), &data).unwrap();
    let mut tx = fs.begin(Reserve::items(1)).unwrap();
    let mut value = b"data".to_vec();
    value.extend(block.to_le_bytes());
    value.extend(len.to_le_bytes());
    value.push(byte);
    if let Some(old) = crate::txn::Read::get(&tx, &key(k), |v| Ok(v.to_vec())).unwrap() {
        let (block, len, _) = place(&old);
        tx.free_extent(block, len, 0).unwrap();
    }
    tx.put(&key(k), &value).unwrap();
    let csum = checked.then(|| vexfs_host::crc32c(0, &data));
    tx.adopt_extent(block, len, csum).unwrap();
    tx.commit()
}

/// Whether this is what [`put_data`] put.
fn is_data(value: &[u8]) -> bool {
    value.len() == 17 && value.starts_with(b"data")
}

/// What [`put_data`] put.
fn place(value: &[u8]) -> (u64, u32, u8) {
    let block = u64::from_le_bytes(value[4..12].try_into().unwrap());
    let len = u32::from_le_bytes(value[12..16].try_into().unwrap());
    (block, len, value[16])
}

/// Checks that the data of each item of [`put_data`] is what the item says; returns the blocks they take.
fn check_data(fs: &Fs, items: &Model) -> u64 {
    let mut blocks = 0;
    for value in items.values().filter(|v| is_data(v)) {
        let (block, len, byte) = place(value);
        let mut data = std::vec![0; len as usize * fs.block_size() as usize];
        fs.dev().read(fs.geometry().byte(block), &mut data).unwrap();
        assert!(
            data.iter().all(|b| *b == byte),
            "blocks {block}+{len} hold something else"
        );
        blocks += u64::from(len);
    }
    blocks
}

fn all(fs: &Fs) -> Model {
    items(&fs.view().unwrap())
}

/// Writes and flushes since event `from`: a letter each. `w`: write, `f`: flush, `F`: write with FUA.
fn story(rec: &RecordingBackend, from: usize) -> std::string::String {
    let letter = |e: &Event| match e {
        Event::Write { fua: false, .. } => Some('w'),
        Event::Write { fua: true, .. } => Some('F'),
        Event::Flush => Some('f'),
        Event::Mark(_) => None,
    };
    rec.events()[from..].iter().filter_map(letter).collect()
}

/// Mounts a copy of what is on `rec`, writable, and compares.
fn holds(rec: &RecordingBackend, expected: &Model) -> Arc<Fs> {
    let fs = mount(&copy(rec).1);
    assert!(all(&fs) == *expected);
    let blocks = check_data(&fs, expected);
    verify(&fs, blocks);
    fs
}

// SPDX-License-Identifier: Apache-2.0
//! Images of released format versions stay readable: `tests/golden/*.vimg`, each with a manifest of what is in it.
//!
//! A `.vimg` is a sparse image: "VIMG", the length as u64, then records of an offset (u64), a length (u32) and so many
//! bytes; all else is zero. The bytes are run-length encoded: after a byte c below 128, c + 1 bytes as they are, else
//! one byte c - 125 times. `cargo test -p vexfs-tests --test golden -- --ignored` writes the images of this version
//! anew: do so only before a version is released.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_core::dir::RenameFlags;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::xattr::XattrMode;
use vexfs_core::Fs;
use vexfs_engine::Batch;
use vexfs_engine::Collections;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_engine::SearchRequest;
use vexfs_engine::Tuning;
use vexfs_host::crc32c;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::mem;
use vexfs_tests::model::rows;

const ROOT: u64 = 2;
const MAGIC: &[u8; 4] = b"VIMG";
/// Bytes that a record is worth.
const UNIT: usize = 64;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn squeeze(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut at, mut plain) = (0, 0);
    let literals = |out: &mut Vec<u8>, part: &[u8]| {
        for piece in part.chunks(128) {
            out.push(piece.len() as u8 - 1);
            out.extend(piece);
        }
    };
    while at < bytes.len() {
        let run = bytes[at..].iter().take(130).take_while(|b| **b == bytes[at]).count();
        if run < 3 {
            at += run;
            continue;
        }
        literals(&mut out, &bytes[plain..at]);
        out.extend([run as u8 + 125, bytes[at]]);
        at += run;
        plain = at;
    }
    literals(&mut out, &bytes[plain..]);
    out
}

fn expand(mut squeezed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((c, rest)) = squeezed.split_first() {
        let n = usize::from(*c);
        if n < 128 {
            out.extend(&rest[..n + 1]);
            squeezed = &rest[n + 1..];
        } else {
            out.extend(std::iter::repeat_n(rest[0], n - 125));
            squeezed = &rest[1..];
        }
    }
    out
}

fn pack(ram: &RamBackend) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(ram.len().to_le_bytes());
    let mut run: Option<(u64, Vec<u8>)> = None;
    let mut end = |run: &mut Option<(u64, Vec<u8>)>| {
        if let Some((at, bytes)) = run.take() {
            out.extend(at.to_le_bytes());
            let bytes = squeeze(&bytes);
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
    };
    let mut page = vec![0; 4096];
    for at in (0..ram.len()).step_by(4096) {
        ram.load(at, &mut page);
        for (i, unit) in page.chunks(UNIT).enumerate() {
            if unit.iter().all(|b| *b == 0) {
                end(&mut run);
            } else {
                run.get_or_insert_with(|| (at + (i * UNIT) as u64, Vec::new()))
                    .1
                    .extend(unit);
            }
        }
    }
    end(&mut run);
    out
}

fn unpack(packed: &[u8]) -> RamBackend {
    let number = |at: usize, n: usize| {
        packed[at..at + n]
            .iter()
            .rev()
            .fold(0u64, |v, b| v << 8 | u64::from(*b))
    };
    assert_eq!(&packed[..4], MAGIC);
    let ram = RamBackend::new(number(4, 8));
    let mut at = 12;
    while at < packed.len() {
        let (offset, len) = (number(at, 8), number(at + 8, 4) as usize);
        ram.store(offset, &expand(&packed[at + 12..at + 12 + len]));
        at += 12 + len;
    }
    ram
}

fn list(fs: &Fs, collections: &Collections, dir: u64, path: &str, out: &mut String) {
    let mut entries: Vec<(Vec<u8>, u64)> = Vec::new();
    fs.readdir(dir, 0, &mut |_, name, ino, _| {
        entries.push((name.to_vec(), ino));
        true
    })
    .expect("readdir");
    entries.sort();
    for (name, ino) in entries {
        let path = format!("{path}/{}", name.escape_ascii());
        let i = fs.inode(ino).expect("inode");
        assert_eq!(fs.lookup(dir, &name).expect("lookup").map(|f| f.0), Some(ino));
        let _ = write!(
            out,
            "{path} ino {ino} mode {:o} nlink {} owner {}:{} rdev {} size {}",
            i.mode, i.nlink, i.uid, i.gid, i.rdev, i.size
        );
        let _ = write!(out, " blocks {} mtime {}.{:09}", i.blocks, i.mtime.sec, i.mtime.nsec);
        if i.is_file() {
            let mut data = vec![0; i.size as usize];
            assert_eq!(fs.read(ino, 0, &mut data).expect("read"), data.len());
            let _ = write!(out, " crc {:08x}", crc32c(0, &data));
        }
        let mut target = mem::Vec::new();
        if fs.read_link(ino, &mut target).is_ok() {
            let _ = write!(out, " target {} crc {:08x}", target.len(), crc32c(0, &target));
        }
        let mut names = Vec::new();
        fs.list_xattr(ino, &mut |n| names.push(n.to_vec())).expect("listxattr");
        names.sort();
        for name in names {
            let mut value = mem::Vec::new();
            fs.get_xattr(ino, &name, &mut value).expect("getxattr");
            let _ = write!(
                out,
                " {}={}:{:08x}",
                name.escape_ascii(),
                value.len(),
                crc32c(0, &value)
            );
        }
        out.push('\n');
        if let Ok(c) = collections.get(ino) {
            let info = c.info().expect("info");
            let (dim, row_bytes) = (info.params.dim(), info.params.row_bytes());
            let _ = writeln!(
                out,
                "{path} collection dim {dim} element {} metric {} segments {} rows {} next {}",
                info.params.element().code(),
                info.params.metric().code(),
                info.segments,
                info.rows,
                info.next_id
            );
            let ids: Vec<u64> = (0..info.next_id).collect();
            let got = c.get(&ids).expect("rows");
            for row in got.rows.iter().flatten() {
                let mut vector = vec![0; row_bytes];
                got.contents.vector(row, &mut vector).expect("vector");
                let mut payload = mem::Vec::new();
                got.contents.payload(row, &mut payload).expect("payload");
                let _ = writeln!(
                    out,
                    "{path} row {} vector {:08x} payload {}:{:08x}",
                    row.id,
                    crc32c(0, &vector),
                    payload.len(),
                    crc32c(0, &payload)
                );
            }
            let queries = rows::bytes(&rows::vector(99, dim))[..row_bytes].to_vec();
            let found = c
                .search(&SearchRequest {
                    queries: &queries,
                    k: 5,
                    ..SearchRequest::default()
                })
                .expect("search");
            let hits: Vec<u64> = found.hits.iter().map(|h| h.row.id).collect();
            let _ = writeln!(out, "{path} nearest {hits:?}");
        }
        if i.is_dir() {
            list(fs, collections, ino, &path, out);
        }
    }
}

fn manifest(dev: &Device) -> String {
    let fs = Fs::mount(
        dev.clone(),
        MountOptions {
            read_only: true,
            ..MountOptions::default()
        },
    )
    .expect("mount");
    let collections = Collections::new(fs.clone()).expect("collections");
    let mut out = format!("label {} uuid {:02x?}\n", fs.label().escape_ascii(), fs.uuid());
    list(&fs, &collections, ROOT, "", &mut out);
    out
}

#[test]
fn images_of_every_version_are_read_as_they_were_written_and_can_be_written() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).expect("tests/golden") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "vimg") {
            continue;
        }
        let name = path.display().to_string();
        let ram = unpack(&std::fs::read(&path).expect("an image"));
        let dev = Device::from_backend(Arc::new(ram));
        let report = check(&dev).expect("a filesystem");
        let logged = name.contains("-log-");
        assert!(report.is_clean() && (report.log_ops > 0) == logged, "{name}:\n{report}");
        assert!(report.orphans == 1 || logged, "{name}:\n{report}");
        let expected = std::fs::read_to_string(path.with_extension("manifest")).expect("a manifest");
        let found = manifest(&dev);
        for (f, e) in found.lines().zip(expected.lines()) {
            assert_eq!(f, e, "{name}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");

        let fs = Fs::mount(dev.clone(), MountOptions::default()).expect("a writable mount");
        fs.create(ROOT, b"new", &new(libc::S_IFDIR | 0o755, None))
            .expect("mkdir");
        fs.write(
            fs.lookup(ROOT, b"large").expect("lookup").expect("large").0,
            10_000,
            &[1; 50_000],
            time(9),
        )
        .expect("write");
        fs.unmount().expect("unmount");
        let report = check(&dev).expect("a filesystem");
        assert!(
            report.is_clean() && report.orphans == 0,
            "{name} after writing:\n{report}"
        );
        seen += 1;
    }
    assert!(seen >= 4, "{seen} golden images");
}

fn time(n: i64) -> Time {
    Time {
        sec: 1_700_000_000 + n,
        nsec: n as u32 * 1_000_003 % 1_000_000_000,
    }
}

fn new(mode: u32, target: Option<&[u8]>) -> NewInode<'_> {
    NewInode {
        mode,
        uid: 1000,
        gid: 100,
        rdev: 0,
        target,
        now: time(1),
        xattrs: &[],
    }
}

fn bytes(n: u64, len: usize) -> Vec<u8> {
    // Repetitive, so that the packed image stays small in the repository.
    (0..len).map(|i| ((i as u64 / 64 + n) % 251) as u8).collect()
}

fn write_image(name: &str, mib: u64, block_size: u32) {
    let ram = Arc::new(RamBackend::new(mib << 20));
    let dev = Device::from_backend(ram.clone());
    let format = FormatOptions {
        label: "golden",
        uuid: Some(*b"vexfs-golden-img"),
        hash_key: Some([3, 5]),
        block_size,
        ..FormatOptions::default()
    };
    Fs::format(&dev, &format).expect("format");
    let fs = Fs::mount(dev.clone(), MountOptions::default()).expect("mount");
    let tuning = Tuning {
        seal_rows: 1,
        fan: 8,
        ..Tuning::default()
    };
    let collections = Collections::tuned(fs.clone(), tuning).expect("collections");
    let file = |dir: u64, name: &[u8], data: &[u8]| {
        let i = fs.create(dir, name, &new(libc::S_IFREG | 0o644, None)).expect("create");
        fs.write(i.ino, 0, data, time(2)).expect("write");
        i.ino
    };
    let small = file(ROOT, b"small", b"in the tree");
    file(ROOT, b"large", &bytes(1, 70_000));
    file(ROOT, b"caf\xc3\xa9 \xff", &bytes(2, 2048));
    file(ROOT, &[b'n'; 255], &bytes(3, 2049));
    let sparse = file(ROOT, b"sparse", b"start");
    fs.write(sparse, 1_000_000, b"end", time(3)).expect("write");
    fs.punch(
        fs.lookup(ROOT, b"large").expect("lookup").expect("large").0,
        20_000,
        30_000,
        time(4),
    )
    .expect("punch");
    let dir = fs
        .create(ROOT, b"dir", &new(libc::S_IFDIR | 0o2750, None))
        .expect("mkdir")
        .ino;
    for i in 0..120u64 {
        file(dir, format!("file-{i}").as_bytes(), &bytes(i, i as usize % 7));
    }
    fs.link(small, dir, b"another name", time(5)).expect("link");
    fs.create(dir, b"symlink", &new(libc::S_IFLNK | 0o777, Some(&[b't'; 300])))
        .expect("symlink");
    fs.create(dir, b"long symlink", &new(libc::S_IFLNK | 0o777, Some(&[b'u'; 4095])))
        .expect("symlink");
    fs.create(
        dir,
        b"device",
        &NewInode {
            rdev: 0x0503,
            ..new(libc::S_IFCHR | 0o600, None)
        },
    )
    .expect("mknod");
    fs.create(dir, b"fifo", &new(libc::S_IFIFO | 0o600, None))
        .expect("mkfifo");
    fs.set_xattr(small, b"user.small", b"value", XattrMode::Set, time(6))
        .expect("setxattr");
    fs.set_xattr(dir, b"user.large", &bytes(4, 9000), XattrMode::Set, time(6))
        .expect("setxattr");
    fs.rename(dir, b"file-1", ROOT, b"moved", RenameFlags::NONE, time(7))
        .expect("rename");
    // Rows in a tail; in segments, of which one has tombstones, and a tail; of other elements.
    for (name, element, metric, dim, sealed) in [
        (&b"l2"[..], 1, 1, 8, false),
        (b"cosine", 1, 2, 17, false),
        (b"segments", 1, 2, 17, true),
        (b"bytes", 4, 3, 32, true),
        (b"bits", 6, 4, 256, true),
    ] {
        let c = fs
            .create(ROOT, name, &new(libc::S_IFDIR | 0o755, None))
            .expect("mkdir")
            .ino;
        collections
            .create(c, &Params::new(dim, element, metric, 0).expect("params"))
            .expect("collection");
        let c = collections.get(c).expect("collection");
        let row_bytes = c.params().row_bytes();
        // Of bytes and bits any are vectors.
        let vectors: Vec<u8> = (0..40)
            .flat_map(|i| rows::bytes(&rows::vector(i * 77 + 5, dim as usize))[..row_bytes].to_vec())
            .collect();
        let maintain = || {
            while sealed && c.maintain(1, &|_, _| ()).expect("maintenance") {}
        };
        let payloads: Vec<Vec<u8>> = (0..40u64).map(|i| rows::payload(i * 0x0101_0101)).collect();
        let lens: Vec<u32> = payloads.iter().map(|p| p.len() as u32).collect();
        let batch = Batch {
            vectors: &vectors,
            ids: None,
            payload_lens: &lens,
            payloads: &payloads.concat(),
        };
        c.insert(
            &batch,
            InsertMode {
                upsert: false,
                normalize: false,
            },
        )
        .expect("insert");
        maintain();
        if name == b"bytes" {
            // The rest is in the log only.
            fs.sync().expect("sync");
        }
        c.delete(&[3, 5, 8]).expect("delete");
        let ids = [4, 1000];
        let batch = Batch {
            vectors: &vectors[..2 * row_bytes],
            ids: Some(&ids),
            payload_lens: &[],
            payloads: &[],
        };
        c.insert(
            &batch,
            InsertMode {
                upsert: true,
                normalize: false,
            },
        )
        .expect("upsert");
        maintain();
        if sealed {
            c.delete(&[9, 1000]).expect("delete");
        }
    }
    // An orphan: the file of a program that was running when the power went.
    let gone = file(ROOT, b"gone", &bytes(5, 30_000));
    assert_eq!(fs.unlink(ROOT, b"gone", time(8)).expect("unlink").ino, gone);
    let txg = fs.counters().open_txg;
    fs.sync_txg(txg).expect("fsync");
    assert_eq!(fs.committed_txg() + 1, txg, "what is new is in the log only");
    // Not unmounted: unmounting would delete it.
    let ram = ram.duplicate();
    let packed = pack(&ram);
    let dev = Device::from_backend(Arc::new(ram));
    std::fs::create_dir_all(folder()).expect("folder");
    std::fs::write(folder().join(name).with_extension("manifest"), manifest(&dev)).expect("manifest");
    std::fs::write(folder().join(name).with_extension("vimg"), &packed).expect("image");
    println!("{name}: {} bytes", packed.len());
}

#[test]
#[ignore = "writes the golden images of this format version"]
fn write_the_golden_images() {
    // Those without a log are of the time before there was one and stay as they are.
    write_image("v1-log-4k", 16, 4096);
    write_image("v1-log-64k", 128, 65_536);
}

// SPDX-License-Identifier: Apache-2.0
//! Compares a mounted filesystem with a [`State`], completely.

use super::rows;
use super::state::Node;
use super::State;
use std::collections::BTreeMap;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_host::mem;

type Result = std::result::Result<(), String>;

/// Fails unless `fs` holds what `state` does; it may have more inodes, without names.
pub fn named(fs: &Fs, collections: &Collections, state: &State) -> Result {
    let named = state.nodes.iter().filter(|(_, n)| n.nlink > 0);
    named
        .into_iter()
        .try_for_each(|(ino, node)| one(fs, collections, *ino, node).map_err(|e| format!("inode {ino}: {e}")))
}

/// Fails unless `fs` holds exactly what `state` does, inodes without names included.
pub fn all(fs: &Fs, collections: &Collections, state: &State) -> Result {
    let mut hidden = 0;
    for (ino, node) in &state.nodes {
        one(fs, collections, *ino, node).map_err(|e| format!("inode {ino}: {e}"))?;
        if node.rows.is_some() {
            // How many files a collection consists of is its own business.
            fs.hidden_files(*ino, &mut |_| hidden += 1)
                .map_err(|e| format!("inode {ino}: hidden files: {e}"))?;
        }
    }
    let count = fs.view().map_err(|e| e.to_string())?.inode_count();
    let expected = state.nodes.len() as u64 + hidden;
    if count != expected {
        return Err(format!("the filesystem has {count} inodes, should have {expected}"));
    }
    Ok(())
}

fn one(fs: &Fs, collections: &Collections, ino: u64, node: &Node) -> Result {
    attributes(fs, ino, node)?;
    xattrs(fs, ino, node)?;
    if node.is_dir() {
        entries(fs, ino, node)?;
    } else if node.is_file() && !node.uncertain {
        content(fs, ino, node)?;
    } else if node.is_symlink() {
        let mut target = mem::Vec::new();
        fs.read_link(ino, &mut target).map_err(|e| format!("readlink: {e}"))?;
        if *target != *node.target {
            return Err("the link's target differs".into());
        }
    }
    if let Some(r) = &node.rows {
        collection(collections, ino, r)?;
    } else if node.is_dir() && collections.get(ino).is_ok() {
        return Err("is a collection and should not be".into());
    }
    Ok(())
}

fn attributes(fs: &Fs, ino: u64, node: &Node) -> Result {
    let i = fs.inode(ino).map_err(|e| format!("cannot be read: {e}"))?;
    let size = match node {
        n if n.is_dir() => n.entries.len() as u64,
        n if n.is_symlink() => n.target.len() as u64,
        n => n.content.size(),
    };
    let is = (i.mode, i.uid, i.gid, i.nlink, i.rdev, i.size);
    let should = (node.mode, node.uid, node.gid, node.nlink, node.rdev, size);
    if is != should {
        return Err(format!(
            "mode, uid, gid, nlink, rdev, size are {is:?}, should be {should:?}"
        ));
    }
    if node.is_dir() && node.nlink > 0 && i.parent != node.parent {
        return Err(format!("parent is {}, should be {}", i.parent, node.parent));
    }
    // The engine takes its own time.
    let (mtime, ctime) = ((i.mtime.sec, i.mtime.nsec), (i.ctime.sec, i.ctime.nsec));
    if !node.own_times && !node.uncertain && (mtime, ctime) != (node.mtime, node.ctime) {
        return Err(format!(
            "mtime, ctime are {mtime:?}, {ctime:?}, should be {:?}, {:?}",
            node.mtime, node.ctime
        ));
    }
    Ok(())
}

fn xattrs(fs: &Fs, ino: u64, node: &Node) -> Result {
    let mut names: Vec<Vec<u8>> = Vec::new();
    fs.list_xattr(ino, &mut |n| names.push(n.to_vec()))
        .map_err(|e| format!("listxattr: {e}"))?;
    names.sort();
    if !names.iter().eq(node.xattrs.keys()) {
        return Err(format!(
            "has attributes {names:?}, should have {:?}",
            node.xattrs.keys()
        ));
    }
    for (name, value) in &node.xattrs {
        let mut found = mem::Vec::new();
        fs.get_xattr(ino, name, &mut found)
            .map_err(|e| format!("getxattr {name:?}: {e}"))?;
        if *found != **value {
            return Err(format!("attribute {:?} differs", String::from_utf8_lossy(name)));
        }
    }
    Ok(())
}

fn entries(fs: &Fs, ino: u64, node: &Node) -> Result {
    let mut found = BTreeMap::new();
    let mut twice = false;
    fs.readdir(ino, 0, &mut |_, name, child, _| {
        twice |= found.insert(name.to_vec(), child).is_some();
        true
    })
    .map_err(|e| format!("readdir: {e}"))?;
    if found != node.entries || twice {
        return Err(format!("entries are {found:?}, should be {:?}", node.entries));
    }
    for (name, child) in &node.entries {
        let got = fs.lookup(ino, name).map_err(|e| format!("lookup: {e}"))?;
        if got.map(|g| g.0) != Some(*child) {
            return Err(format!(
                "lookup of {:?} gave {got:?}, should be {child}",
                String::from_utf8_lossy(name)
            ));
        }
    }
    Ok(())
}

fn content(fs: &Fs, ino: u64, node: &Node) -> Result {
    let size = node.content.size();
    let check = |off: u64, len: usize| {
        let mut buf = vec![0xA5; len];
        let n = fs
            .read(ino, off, &mut buf)
            .map_err(|e| format!("read of {len} at {off}: {e}"))?;
        let want = node.content.read(off, len);
        if n != want.len() {
            return Err(format!("read {n} bytes at {off}, should be {}", want.len()));
        }
        match (0..n).find(|i| buf[*i] != want[*i]) {
            Some(i) => Err(format!(
                "byte {} is {:#x}, should be {:#x}",
                off + i as u64,
                buf[i],
                want[i]
            )),
            None => Ok(()),
        }
    };
    if size <= 1 << 20 {
        return check(0, size as usize + 1);
    }
    for (off, len) in node.content.written() {
        check(off, len)?;
    }
    // What the filesystem thinks is data must be right, too: the rest are holes.
    let mut at = 0;
    while let Some(data) = fs
        .next_data(ino, None, at, size)
        .map_err(|e| format!("next_data: {e}"))?
    {
        let hole = fs
            .next_hole(ino, None, data, size)
            .map_err(|e| format!("next_hole: {e}"))?
            .unwrap_or(size);
        if hole <= data {
            return Err(format!("data at {data} ends at {hole}"));
        }
        check(data, (hole - data) as usize)?;
        at = hole;
    }
    check(size.saturating_sub(5000), 10_000)
}

fn collection(collections: &Collections, ino: u64, model: &rows::Rows) -> Result {
    let c = collections.get(ino).map_err(|e| format!("collection: {e}"))?;
    let info = c.info().map_err(|e| format!("collection: {e}"))?;
    let is = (info.params.dim(), info.params.metric().code(), info.rows, info.next_id);
    let should = (model.dim, model.metric, model.rows.len() as u64, model.next_id);
    if is != should {
        return Err(format!("dim, metric, rows, next id are {is:?}, should be {should:?}"));
    }
    let ids: Vec<u64> = model.rows.keys().copied().chain([u64::MAX - 1]).collect();
    let got = c.get(&ids).map_err(|e| format!("get: {e}"))?;
    for (i, id) in ids.iter().enumerate() {
        match (model.rows.get(id), got.rows[i].as_ref()) {
            (None, None) => {}
            (Some(want), Some(row)) => {
                let mut vector = vec![0; 4 * model.dim];
                got.contents.vector(row, &mut vector).map_err(|e| e.to_string())?;
                let mut payload = mem::Vec::new();
                got.contents.payload(row, &mut payload).map_err(|e| e.to_string())?;
                if vector != rows::bytes(&want.vector) || *payload != *want.payload {
                    return Err(format!("row {id} differs"));
                }
            }
            (want, _) => {
                return Err(format!(
                    "row {id} is there: {}, should be: {}",
                    want.is_none(),
                    want.is_some()
                ))
            }
        }
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0
//! Recognises what a device holds by the signatures that filesystems, volume managers and partition tables
//! leave at fixed places, so that nothing is overwritten unasked.
//!
//! It reads only, needs no library, and knows the common ones; places and values are those of the formats' own
//! documentation, as libblkid has them too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that tell of a format.
struct Signature {
    name: &'static str,
    offset: u64,
    magic: &'static [u8],
}

const fn signature(name: &'static str, offset: u64, magic: &'static [u8]) -> Signature {
    Signature { name, offset, magic }
}

const SIGNATURES: &[Signature] = &[
    signature("VexFS", 4096, b"VexFS\r\n\x1a"),
    signature("VexFS", 8192, b"VexFS\r\n\x1a"),
    // Earlier filesystems of that name, in both byte orders.
    signature("an older VexFS", 0, b"VEXF"),
    signature("an older VexFS", 0, b"FXEV"),
    signature("an older VexFS", 1024, b"VEXF"),
    signature("an older VexFS", 1024, b"FXEV"),
    signature("ext2/ext3/ext4", 1080, b"\x53\xef"),
    signature("XFS", 0, b"XFSB"),
    signature("btrfs", 65_600, b"_BHRfS_M"),
    signature(
        "bcachefs",
        4120,
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
    ),
    signature(
        "bcachefs or bcache",
        4120,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ),
    signature("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    signature("EROFS", 1024, b"\xe2\xe1\xf5\xe0"),
    signature("NILFS2", 1030, b"\x34\x34"),
    signature("HFS", 1024, b"BD"),
    signature("HFS+", 1024, b"H+"),
    signature("HFS+", 1024, b"HX"),
    signature("JFS", 32_768, b"JFS1"),
    signature("ReiserFS", 65_588, b"ReIsEr"),
    signature("GFS2", 65_536, b"\x01\x16\x19\x70"),
    signature("OCFS2", 8192, b"OCFSV2"),
    signature("NTFS", 3, b"NTFS    "),
    signature("exFAT", 3, b"EXFAT   "),
    signature("FAT", 54, b"FAT12   "),
    signature("FAT", 54, b"FAT16   "),
    signature("FAT", 82, b"FAT32   "),
    signature("APFS", 32, b"NXSB"),
    signature("SquashFS", 0, b"hsqs"),
    signature("cramfs", 0, b"\x45\x3d\xcd\x28"),
    signature("ISO 9660", 32_769, b"CD001"),
    signature("UDF", 32_769, b"BEA01"),
    signature("swap", 4086, b"SWAPSPACE2"),
    signature("swap", 65_526, b"SWAPSPACE2"),
    signature("LUKS", 0, b"LUKS\xba\xbe"),
    signature("LVM physical volume", 24, b"LVM2 001"),
    signature("LVM physical volume", 536, b"LVM2 001"),
    signature("LVM physical volume", 1048, b"LVM2 001"),
    signature("LVM physical volume", 1560, b"LVM2 001"),
    signature("MD RAID member", 4096, b"\xfc\x4e\x2b\xa9"),
    signature("MD RAID member", 0, b"\xfc\x4e\x2b\xa9"),
    signature("ZFS", 131_072 + 8, b"\x0c\xb1\xba\x00"),
    signature("a GPT partition table", 512, b"EFI PART"),
    signature("a GPT partition table", 4096, b"EFI PART"),
    signature("a partition table or boot sector", 510, b"\x55\xaa"),
];

/// Returns the names of what is recognised on `file`, each once; none when it looks unused.
pub fn probe(file: &File) -> io::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    for signature in SIGNATURES {
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..signature.magic.len()];
        match file.read_exact_at(bytes, signature.offset) {
            Ok(()) if bytes == signature.magic => {
                if !found.contains(&signature.name) {
                    found.push(signature.name);
                }
            }
            Ok(()) => {}
            // The device is smaller than that.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn every_signature_is_recognised() {
        for signature in SIGNATURES {
            let file = image(1 << 20);
            file.write_all_at(signature.magic, signature.offset).unwrap();
            let found = probe(&file).unwrap();
            assert!(found.contains(&signature.name), "{}", signature.name);
        }
    }

    #[test]
    fn an_empty_or_tiny_image_holds_nothing() {
        for len in [0, 1, 512, 1100, 1 << 20] {
            assert_eq!(probe(&image(len)).unwrap(), [""; 0], "{len}");
        }
    }
}

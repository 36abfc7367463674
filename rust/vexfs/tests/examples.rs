// SPDX-License-Identifier: Apache-2.0
//! The examples do what they say.

#[path = "../examples/bulk_load.rs"]
mod bulk_load;
#[path = "../examples/filtered_search.rs"]
mod filtered_search;
#[path = "../examples/mounted.rs"]
mod mounted;
#[path = "../examples/quick_start.rs"]
mod quick_start;

#[test]
fn quick_start_finds_the_animals() {
    assert_eq!(quick_start::run().unwrap(), ["On dogs", "On wolves"]);
}

#[test]
fn filtered_search_finds_cafes() {
    let ids = filtered_search::run().unwrap();
    assert!(
        ids.len() == 5 && ids.iter().all(|id| id % 7 == 0 && id % 30 >= 10),
        "{ids:?}"
    );
}

#[test]
fn bulk_load_loads_every_row() {
    assert_eq!(bulk_load::run().unwrap(), 4000);
}

#[test]
fn mounted_works_where_a_vexfs_is_mounted_and_says_so_elsewhere() {
    match std::env::var_os("VEXFS_MOUNTED") {
        Some(dir) => {
            let dir = tempfile::tempdir_in(dir).unwrap();
            assert_eq!(mounted::run(dir.path()).unwrap(), 1);
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            let error = mounted::run(dir.path()).unwrap_err();
            assert_eq!(error.kind(), vexfs::ErrorKind::NotMounted);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `vexctl --image`: the commands from end to end, on the filesystem's own code.

mod support;

use std::process::Command;
use std::process::Output;

use serde_json::json;
use serde_json::Value;
use support::image;
use support::sample;

#[test]
fn a_search_of_the_sample_finds_what_an_exact_computation_elsewhere_found() {
    let image = image();
    image.json(&[
        "collection",
        "create",
        "/packages",
        "--dim",
        "384",
        "--metric",
        "cosine",
    ]);
    let done = image.json(&[
        "insert",
        "/packages",
        &sample("debian384_base.fvecs"),
        "--metadata",
        &sample("debian384_base.jsonl"),
        "--first-id",
        "0",
    ]);
    assert_eq!(
        done,
        json!({"inserted": 2000, "replaced": 0, "first_id": null, "batches": 2})
    );
    let found = image.json(&["search", "/packages", &sample("debian384_query.fvecs"), "-k", "10"]);
    let results = found["results"].as_array().expect("results");
    let truth = std::fs::read(sample("debian384_cos_top10.ivecs")).expect("read");
    assert_eq!(results.len(), truth.len() / 44);
    for (result, truth) in results.iter().zip(truth.chunks(44)) {
        let truth: Vec<i64> = truth[4..]
            .chunks(4)
            .map(|b| i32::from_le_bytes(b.try_into().expect("4 bytes")).into())
            .collect();
        let ids: Vec<i64> = result["hits"]
            .as_array()
            .expect("hits")
            .iter()
            .map(|h| h["id"].as_i64().expect("id"))
            .collect();
        assert_eq!(ids, truth, "query {}", result["query"]);
    }
    assert_eq!(results[0]["hits"][0]["payload"]["package"], "spamprobe");
    let metadata = std::fs::read_to_string(sample("debian384_base.jsonl")).expect("read");
    let row: Value = serde_json::from_str(metadata.lines().nth(1234).expect("line")).expect("JSON");
    assert_eq!(image.json(&["get", "/packages", "1234"])["rows"][0]["payload"], row);
}

#[test]
fn the_three_queries_of_the_demo_are_answered_with_names_and_descriptions() {
    let image = image();
    image.run(&["collection", "create", "/packages", "-d", "384", "-m", "cosine"]);
    let (base, metadata) = (sample("debian384_base.fvecs"), sample("debian384_base.jsonl"));
    image.run(&["insert", "/packages", &base, "-m", &metadata, "--first-id", "0"]);
    let (query, labels) = (sample("debian384_query.fvecs"), sample("debian384_query.jsonl"));
    let output = image.run(&[
        "search",
        "/packages",
        &query,
        "--rows",
        "3",
        "-k",
        "5",
        "--labels",
        &labels,
        "--fields",
        "package,synopsis",
    ]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for expected in [
        "e-mail filter for spam that learns",
        "Bayesian spam filter",
        "ioquake3",
        "ham radio",
        "klog",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn every_format_inserts_the_same_rows() {
    let image = image();
    let jsonl = b"{\"id\": 5, \"vector\": [1, 2], \"payload\": {\"name\": \"a\"}}\n{\"id\": 6, \"vector\": [3, 4]}\n";
    let mut fvecs = Vec::new();
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header);
    for row in [[1f32, 2.0], [3.0, 4.0]] {
        fvecs.extend(2i32.to_le_bytes());
        for x in row {
            fvecs.extend(x.to_le_bytes());
            npy.extend(x.to_le_bytes());
        }
    }
    let metadata = image.file("meta.jsonl", b"{\"name\": \"a\"}\n{}\n");
    let expected = json!([
        {"id": 5, "found": true, "payload": {"name": "a"}, "vector": [1.0, 2.0]},
        {"id": 6, "found": true, "payload": {}, "vector": [3.0, 4.0]},
    ]);
    let check = |name: &str, insert: &dyn Fn(&str) -> Output| {
        let path = format!("/{name}");
        image.json(&["collection", "create", &path, "-d", "2", "-m", "l2"]);
        let output = insert(&path);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            image.json(&["get", &path, "5", "6", "--vectors"])["rows"],
            expected,
            "{name}"
        );
    };
    let (fvecs, npy) = (image.file("rows.fvecs", &fvecs), image.file("rows.npy", &npy));
    let with_metadata = |path: &str, file: &str| image.run(&["insert", path, file, "--first-id", "5", "-m", &metadata]);
    check("stdin", &|path| image.pipe(&["insert", path, "-"], jsonl));
    check("jsonl", &|path| {
        image.run(&["insert", path, &image.file("rows.jsonl", jsonl)])
    });
    check("fvecs", &|path| with_metadata(path, &fvecs));
    check("npy", &|path| with_metadata(path, &npy));
    check("arguments", &|path| {
        image.run(&[
            "insert",
            path,
            "--vector",
            "1,2",
            "--id",
            "5",
            "--payload",
            "{\"name\": \"a\"}",
        ]);
        image.run(&["insert", path, "--vector", "[3, 4]", "--id", "6", "--sync"])
    });
    let all = image.json(&["collection", "list"]);
    assert_eq!(all["collections"].as_array().expect("list").len(), 5);
}

#[test]
fn ids_are_assigned_rows_replaced_and_deleted_as_asked() {
    let image = image();
    image.json(&["collection", "create", "/c", "-d", "1", "-m", "l2"]);
    let done = image.json(&["insert", "/c", "--vector", "1", "--vector", "2", "--vector", "4"]);
    assert_eq!(done["first_id"], 0);
    assert_eq!(image.json(&["insert", "/c", "--vector", "8"])["first_id"], 3);
    image.fails(&["insert", "/c", "--vector", "9", "--id", "3"], 1, Some(libc::EEXIST));
    assert_eq!(image.ids(&["search", "/c", "--vector", "9", "-k", "2"]), [3, 2]);
    let done = image.json(&["insert", "/c", "--vector", "-9", "--id", "3", "--upsert"]);
    assert_eq!((&done["inserted"], &done["replaced"]), (&json!(1), &json!(1)));
    assert_eq!(image.ids(&["search", "/c", "--vector", "9"]), [2, 1, 0, 3]);
    assert_eq!(image.ids(&["search", "/c", "--vector", "9", "--radius", "49"]), [2, 1]);
    assert_eq!(image.ids(&["search", "/c", "--id", "0", "-k", "2"]), [0, 1]);
    assert_eq!(
        image.json(&["delete", "/c", "1", "1", "77"]),
        json!({"requested": 3, "deleted": 1})
    );
    assert_eq!(
        image.pipe(&["delete", "/c", "--from", "-"], b"0\n\n2\n").status.code(),
        Some(0)
    );
    let info = image.json(&["collection", "info", "/c"]);
    assert_eq!((&info["rows"], &info["next_id"]), (&json!(1), &json!(4)));
    let output = image.run(&["get", "/c", "1", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no row 1"));
}

#[test]
fn a_wrong_row_is_named_and_nothing_of_its_batch_is_inserted() {
    let image = image();
    image.json(&["collection", "create", "/c", "-d", "2", "-m", "cosine"]);
    let rows = image.file("rows.jsonl", b"[1, 2]\n[1, 2]\n[1, 2]\n[1, 2, 3]\n");
    let error = image.fails(&["insert", "/c", &rows], 1, None);
    assert!(error.contains("line 4") && error.contains("3 dimensions"), "{error}");
    assert_eq!(image.json(&["collection", "info", "/c"])["rows"], 0);
    let error = image.fails(&["insert", "/c", &rows, "--batch", "2"], 1, None);
    assert!(
        error.contains("line 4") && error.contains("2 rows before it were inserted"),
        "{error}"
    );
    assert_eq!(image.json(&["collection", "info", "/c"])["rows"], 2);
    for (vector, word) in [
        ("0,0", "zeros"),
        ("nan,1", "NaN"),
        ("1", "1 dimensions"),
        ("inf,1", "inf"),
    ] {
        let error = image.fails(&["insert", "/c", "--vector", vector], 1, None);
        assert!(error.contains(word), "{error}");
        image.fails(&["search", "/c", "--vector", vector], 1, None);
    }
    let error = image.fails(
        &["insert", "/c", "--vector", "1,2", "--payload", "{\"a\": {\"b\": 1}}"],
        1,
        None,
    );
    assert!(error.contains("\"a\""), "{error}");
    image.fails(&["insert", "/c", "--vector", "1,2", "--payload", "[1]"], 2, None);
    let mixed = image.file("mixed.jsonl", b"{\"id\": 90, \"vector\": [1, 2]}\n[1, 2]\n");
    assert!(image.fails(&["insert", "/c", &mixed], 1, None).contains("line 2"));
}

#[test]
fn collections_are_directories_that_are_listed_and_dropped() {
    let image = image();
    for path in ["/b", "/a"] {
        image.json(&["collection", "create", path, "-d", "3", "-m", "ip"]);
    }
    image.json(&["collection", "create", "/a/inner", "-d", "3", "-m", "ip"]);
    let paths = |args: &[&str]| -> Vec<String> {
        let document = image.json(args);
        let all = document["collections"].as_array().expect("list").iter();
        all.map(|c| c["path"].as_str().expect("path").to_string()).collect()
    };
    assert_eq!(paths(&["collection", "list"]), ["/a", "/b"]);
    assert_eq!(paths(&["collection", "list", "-r"]), ["/a", "/a/inner", "/b"]);
    image.fails(
        &["collection", "create", "/a", "-d", "3", "-m", "ip"],
        1,
        Some(libc::EEXIST),
    );
    image.fails(&["collection", "drop", "/a"], 1, Some(libc::ENOTEMPTY));
    image.fails(&["collection", "drop", "/none"], 1, Some(libc::ENOENT));
    image.fails(&["collection", "info", "/"], 1, Some(libc::ENOTTY));
    image.json(&["collection", "drop", "/a/inner"]);
    image.json(&["collection", "drop", "/a"]);
    assert_eq!(paths(&["collection", "list", "-r"]), ["/b"]);
}

#[test]
fn reading_commands_write_nothing() {
    let image = image();
    image.json(&["collection", "create", "/c", "-d", "2", "-m", "l2"]);
    image.json(&["insert", "/c", "--vector", "1,2"]);
    let before = std::fs::read(&image.path).expect("read");
    for args in [
        &["status"][..],
        &["collection", "list"],
        &["collection", "info", "/c"],
        &["get", "/c", "0"],
        &["search", "/c", "--vector", "1,2"],
    ] {
        image.json(args);
        assert!(image.run(args).status.success(), "{args:?}");
    }
    assert!(std::fs::read(&image.path).expect("read") == before);
}

#[test]
fn what_is_no_filesystem_is_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("image");
    std::fs::write(&path, vec![0; 1 << 20]).expect("write");
    let output = Command::new(env!("CARGO_BIN_EXE_vexctl"))
        .arg("status")
        .arg("--image")
        .arg(&path)
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(1));
}

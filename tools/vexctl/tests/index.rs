// SPDX-License-Identifier: Apache-2.0
//! `vexctl --image`: element types, filters, indexes and what is measured of them.

mod support;

use serde_json::json;
use serde_json::Value;
use support::image;
use support::sample;
use support::Image;

/// A collection of the sample, with its metadata.
fn packages(image: &Image) {
    image.json(&["collection", "create", "/packages", "-d", "384", "-m", "cosine"]);
    let (base, metadata) = (sample("debian384_base.fvecs"), sample("debian384_base.jsonl"));
    image.json(&["insert", "/packages", &base, "-m", &metadata, "--first-id", "0"]);
}

fn query(image: &Image, more: &[&str]) -> Vec<Value> {
    let file = sample("debian384_query.fvecs");
    let mut args = vec!["search", "/packages", &file];
    args.extend(more);
    image.json(&args)["results"].as_array().expect("results").clone()
}

fn ids(result: &Value) -> Vec<u64> {
    let hits = result["hits"].as_array().expect("hits").iter();
    hits.map(|hit| hit["id"].as_u64().expect("id")).collect()
}

#[test]
fn an_index_is_built_searched_measured_explained_and_dropped() {
    let image = image();
    packages(&image);
    let exact = query(&image, &[]);
    let built = image.json(&[
        "index",
        "build",
        "/packages",
        "hnsw",
        "--m",
        "12",
        "--threads",
        "1",
        "--seed",
        "7",
    ]);
    assert_eq!((&built["rows"], &built["indexed_rows"]), (&json!(2000), &json!(2000)));
    assert_eq!(
        (&built["index"]["kind"], &built["index"]["m"]),
        (&json!("hnsw"), &json!(12))
    );
    assert_eq!(image.json(&["collection", "info", "/packages"])["index"], "hnsw");

    let found = query(&image, &["--ef", "120"]);
    let common: usize = exact
        .iter()
        .zip(&found)
        .map(|(a, b)| ids(a).iter().filter(|id| ids(b).contains(id)).count())
        .sum();
    assert!(
        common * 100 >= exact.len() * 10 * 95,
        "{common} of {}",
        exact.len() * 10
    );
    let again: Vec<_> = query(&image, &["--exact"]).iter().map(ids).collect();
    assert_eq!(again, exact.iter().map(ids).collect::<Vec<_>>());

    let explained = image.json(&[
        "explain",
        "/packages",
        &sample("debian384_query.fvecs"),
        "--rows",
        "2",
        "--ef",
        "50",
    ]);
    let parts = explained["queries"][1]["parts"].as_array().expect("parts");
    let segment = parts.iter().find(|part| part["segment"] != 0).expect("a segment");
    assert_eq!((&segment["index"], &segment["live"]), (&json!("hnsw"), &json!(2000)));
    assert!(image.run(&["explain", "/packages", "--id", "5"]).status.success());

    let (file, rounds) = (sample("debian384_query.fvecs"), ["--rounds", "1"]);
    let measured = image.json(&["bench", "/packages", &file, "--ef", "10,200", rounds[0], rounds[1]]);
    let settings = measured["settings"].as_array().expect("settings");
    let names: Vec<&str> = settings.iter().map(|s| s["setting"].as_str().expect("name")).collect();
    assert_eq!(names, ["exact", "ef 10", "ef 200"]);
    let recall = |i: usize| settings[i]["recall"].as_f64().expect("recall");
    assert!(
        recall(0) == 1.0 && recall(1) <= recall(2) && recall(2) >= 0.95,
        "{settings:?}"
    );
    for setting in settings {
        let at = |name: &str| setting[name].as_f64().expect(name);
        assert!(at("p50_us") <= at("p95_us") && at("p95_us") <= at("p99_us") && at("p99_us") <= at("max_us"));
    }
    let sampled = image.json(&["bench", "/packages", "--sample", "20", "--ef", "100", "--rounds", "1"]);
    assert_eq!(sampled["queries"], 20);

    let dropped = image.json(&["index", "drop", "/packages"]);
    assert_eq!(
        (&dropped["index"]["kind"], &dropped["index_bytes"]),
        (&json!("flat"), &json!(0))
    );
}

/// What a filter means, for a row's metadata.
type Matches = &'static dyn Fn(&Value) -> bool;

#[test]
fn as_many_rows_as_are_wanted_come_back_whenever_so_many_match() {
    let image = image();
    packages(&image);
    let metadata = std::fs::read_to_string(sample("debian384_base.jsonl")).expect("read");
    let rows: Vec<Value> = metadata
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let filters: [(&str, Matches); 4] = [
        ("{\"arch\": \"all\"}", &|row| row["arch"] == "all"),
        ("{\"section\": [\"mail\", \"net\"]}", &|row| {
            row["section"] == "mail" || row["section"] == "net"
        }),
        (
            "{\"size\": {\"gte\": 1000000}, \"package\": {\"prefix\": \"lib\"}}",
            &|row| row["size"].as_i64() >= Some(1_000_000) && row["package"].as_str().expect("name").starts_with("lib"),
        ),
        (
            "{\"must_not\": [{\"arch\": \"all\"}], \"section\": \"games\"}",
            &|row| row["arch"] != "all" && row["section"] == "games",
        ),
    ];
    for indexed in [false, true] {
        if indexed {
            image.json(&["index", "build", "/packages", "hnsw"]);
        }
        for (filter, matches) in &filters {
            let wanted = rows.iter().filter(|row| matches(row)).count().min(10);
            assert!(wanted > 3, "{filter}");
            for result in query(&image, &["--filter", filter]) {
                let ids = ids(&result);
                assert_eq!(ids.len(), wanted, "{filter}, indexed {indexed}");
                assert!(
                    ids.iter().all(|id| matches(&rows[*id as usize])),
                    "{filter}, indexed {indexed}"
                );
            }
        }
    }
    let error = image.fails(
        &[
            "search",
            "/packages",
            "--id",
            "1",
            "--filter",
            "{\"size\": {\"near\": 3}}",
        ],
        2,
        None,
    );
    assert!(error.contains("--filter") && error.contains("size"), "{error}");
    image.fails(&["search", "/packages", "--id", "1", "--filter", "{"], 2, None);
}

#[test]
fn every_element_type_is_inserted_read_and_searched() {
    let image = image();
    for (element, metric, row, near, distance) in [
        ("f32", "l2", "1.5,-2,0.1", "1.5,-2,1.1", 1.0),
        ("f16", "l2", "1.5,-2,0.5", "1.5,-2,1.5", 1.0),
        ("bf16", "l2", "1.5,-2,0.5", "1.5,-2,1.5", 1.0),
        ("i8", "ip", "100,-128,7", "1,0,2", -114.0),
        ("u8", "l2", "255,0,7", "255,2,7", 4.0),
        ("binary", "hamming", "1,0,1", "1,1,0", 2.0),
    ] {
        let path = format!("/{element}");
        let made = image.json(&["collection", "create", &path, "-d", "3", "-m", metric, "-e", element]);
        assert_eq!(made["element"], element);
        image.json(&["insert", &path, "--vector", row, "--id", "4"]);
        let numbers: Vec<f64> = row.split(',').map(|x| x.parse().expect("number")).collect();
        assert_eq!(
            image.json(&["get", &path, "4", "--vectors"])["rows"][0]["vector"],
            json!(numbers),
            "{element}"
        );
        let found = image.json(&["search", &path, "--vector", near, "--vectors"]);
        let hit = &found["results"][0]["hits"][0];
        assert_eq!((&hit["id"], &hit["vector"]), (&json!(4), &json!(numbers)), "{element}");
        assert_eq!(hit["distance"].as_f64(), Some(distance), "{element}");
        assert_eq!(image.json(&["optimize", &path])["segments"], 1, "{element}");
        assert_eq!(image.ids(&["search", &path, "--id", "4"]), [4], "{element}");
    }
    for (path, vector, word) in [
        ("/i8", "1,2,128", "128"),
        ("/u8", "1,0.5,2", "0.5"),
        ("/f16", "1,2,70000", "f16"),
    ] {
        let error = image.fails(&["insert", path, "--vector", vector], 1, None);
        assert!(error.contains("element") && error.contains(word), "{error}");
    }
    for args in [["-m", "l2", "-e", "binary"], ["-m", "hamming", "-e", "f32"]] {
        let mut all = vec!["collection", "create", "/bad", "-d", "8"];
        all.extend(args);
        image.fails(&all, 2, None);
    }
}

#[test]
fn what_is_due_is_done_and_optimizing_leaves_one_segment_without_dead_rows() {
    let image = image();
    image.json(&["collection", "create", "/c", "-d", "1", "-m", "l2", "-i", "hnsw"]);
    let lines: String = (0..500)
        .map(|i| format!("{{\"id\": {i}, \"vector\": [{i}]}}\n"))
        .collect();
    assert!(image.pipe(&["insert", "/c", "-"], lines.as_bytes()).status.success());
    let first = image.json(&["optimize", "/c"]);
    assert_eq!(
        (&first["segments"], &first["tail_rows"], &first["indexed_rows"]),
        (&json!(1), &json!(0), &json!(500))
    );
    image.json(&["delete", "/c", "0", "1", "2"]);
    image.json(&["insert", "/c", "--vector", "250.25", "--id", "900"]);
    assert_eq!(image.ids(&["search", "/c", "--vector", "250.2", "-k", "2"]), [900, 250]);
    assert_eq!(image.json(&["index", "info", "/c"])["dead_rows"], 3);
    image.json(&["optimize", "/c", "--due"]);
    let last = image.json(&["optimize", "/c"]);
    assert_eq!(
        (&last["segments"], &last["rows"], &last["dead_rows"]),
        (&json!(1), &json!(498), &json!(0))
    );
    assert_eq!(image.ids(&["search", "/c", "--vector", "0", "-k", "2"]), [3, 4]);
    image.fails(&["index", "build", "/none", "hnsw"], 1, Some(libc::ENOENT));
    image.fails(&["index", "info", "/"], 1, Some(libc::ENOTTY));
}

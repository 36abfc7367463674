// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vexfs_tests::fuzz::run("json", input));

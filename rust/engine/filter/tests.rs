// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

use super::testing::expr;
use super::testing::instruction;
use super::testing::payload;
use super::testing::program;
use super::testing::row;
use super::testing::Expr;
use super::testing::Row;
use super::testing::Val;
use super::*;
use crate::payload::Payload;
use proptest::prelude::*;
use std::boxed::Box;
use std::string::ToString;
use std::vec;
use vexfs_host::Error;
use vexfs_uapi::filter::*;
use vexfs_uapi::payload::*;

fn refused(bytes: &[u8]) -> Error {
    Program::parse(bytes).expect_err("a wrong program is refused")
}

fn one(op: u32, name: &str, kind: u32, flags: u32, body: &[u8]) -> std::vec::Vec<u8> {
    program(1, &instruction(op, name, kind, flags, body))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_lets_through_what_its_filter_means(expr in expr(), rows in prop::collection::vec(row(), 1..6)) {
        let program = Program::parse(&expr.encode()).unwrap();
        for row in rows {
            let bytes = payload(&row);
            prop_assert!(bytes.is_empty() || Payload::parse(&bytes).is_ok());
            prop_assert_eq!(program.matches(&bytes).unwrap(), expr.holds(&row), "{:?}", row);
        }
    }

    #[test]
    fn changed_programs_are_refused_or_still_programs(
        expr in expr(),
        row in row(),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = expr.encode();
        prop_assert!(Program::parse(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok(program) = Program::parse(&bytes) {
            prop_assert_eq!(program.as_bytes(), &bytes[..]);
            program.matches(&payload(&row)).unwrap();
        }
        bytes[at] ^= 1u8 << bit;
        bytes.push(0);
        prop_assert!(Program::parse(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_a_program(bytes in prop::collection::vec(any::<u8>(), 0..64), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(program) = Program::parse(&bytes) {
            program.matches(&payload).unwrap();
        }
    }
}

#[test]
fn the_example_of_the_documentation_is_a_program() {
    let bytes = [
        0x01, 0x00, 0x01, 0x00, 0x11, 0x07, 0x01, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x73, 0x65, 0x63, 0x74, 0x69, 0x6f,
        0x6e, 0x01, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x6e, 0x65, 0x74,
    ];
    let program = Program::parse(&bytes).unwrap();
    let row = |section: &str| payload(&Row::from([("section".to_string(), Val::Keyword(section.to_string()))]));
    assert_eq!(program.matches(&row("net")), Ok(true));
    assert_eq!(program.matches(&row("nets")), Ok(false));
    assert_eq!(program.matches(&[]), Ok(false));
}

#[test]
fn groups_without_members_have_a_value() {
    let row = payload(&Row::new());
    assert_eq!(
        Program::parse(&Expr::And(vec![]).encode()).unwrap().matches(&row),
        Ok(true)
    );
    assert_eq!(
        Program::parse(&Expr::Or(vec![]).encode()).unwrap().matches(&row),
        Ok(false)
    );
    let not = Expr::Not(Box::new(Expr::Or(vec![])));
    assert_eq!(Program::parse(&not.encode()).unwrap().matches(&row), Ok(true));
}

#[test]
fn each_rule_of_the_form_is_enforced() {
    let number = 7i64.to_le_bytes();
    let set = |count: u32, elements: &[&[u8]]| [&count.to_le_bytes()[..], &elements.concat()].concat();
    let good = one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_I64, 0, &set(1, &[&number]));
    Program::parse(&good).unwrap();
    // The header: version, reserved byte, number of instructions.
    for (at, value) in [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(matches!(refused(&bytes), Error::Invalid(_)), "{at} {value}");
    }
    let wrong = [
        // Names.
        one(VEXFS_FILTER_IN, "", VEXFS_FIELD_I64, 0, &set(1, &[&number])),
        one(VEXFS_FILTER_IN, "a\0", VEXFS_FIELD_I64, 0, &set(1, &[&number])),
        one(VEXFS_FILTER_AND, "a", 0, 0, &[]),
        // Types and flags where there are none, unknown ones.
        one(VEXFS_FILTER_EXISTS, "a", VEXFS_FIELD_I64, 0, &[]),
        one(VEXFS_FILTER_EXISTS, "a", 0, 1, &[]),
        one(VEXFS_FILTER_OR, "", 0, 1, &[]),
        one(VEXFS_FILTER_OR, "", 1, 0, &[]),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_TEXT, 0, &set(1, &[&[0; 4]])),
        one(VEXFS_FILTER_IN, "a", 0, 0, &set(1, &[&number])),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_LIST | VEXFS_FIELD_I64,
            0,
            &set(1, &[&number]),
        ),
        one(VEXFS_FILTER_PREFIX, "a", VEXFS_FIELD_TEXT, 0, b"x"),
        one(0, "", 0, 0, &[]),
        one(4, "", 0, 0, &[]),
        one(20, "a", 0, 0, &[]),
        // Bodies.
        one(VEXFS_FILTER_EXISTS, "a", 0, 0, &[0]),
        one(VEXFS_FILTER_PREFIX, "a", VEXFS_FIELD_KEYWORD, 0, &[0xff]),
        one(VEXFS_FILTER_NOT, "", 0, 0, &[]),
        program(
            3,
            &instruction(
                VEXFS_FILTER_NOT,
                "",
                0,
                0,
                &[&instruction(VEXFS_FILTER_AND, "", 0, 0, &[])[..]; 2].concat(),
            ),
        ),
        // Sets.
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_I64, 0, &set(0, &[])),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_I64, 0, &set(2, &[&number])),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_I64, 0, &set(1, &[&number, &[0]])),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_I64, 0, &set(2, &[&number, &number])),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_I64,
            0,
            &set(2, &[&number, &(-1i64).to_le_bytes()]),
        ),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_F64,
            0,
            &set(2, &[&(-0f64).to_le_bytes(), &0f64.to_le_bytes()]),
        ),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_F64,
            0,
            &set(1, &[&f64::NAN.to_le_bytes()]),
        ),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_F64,
            0,
            &set(1, &[&f64::INFINITY.to_le_bytes()]),
        ),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_BOOL, 0, &set(1, &[&[2]])),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_BOOL, 0, &set(2, &[&[1], &[0]])),
        one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_BOOL, 0, &set(2, &[&[0], &[0]])),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_KEYWORD,
            0,
            &set(2, &[&[1, 0, 0, 0, b'b'], &[1, 0, 0, 0, b'a']]),
        ),
        one(
            VEXFS_FILTER_IN,
            "a",
            VEXFS_FIELD_KEYWORD,
            0,
            &set(1, &[&[1, 0, 0, 0, 0x80]]),
        ),
        // Ranges.
        one(VEXFS_FILTER_RANGE, "a", 0, 0, &[]),
        one(VEXFS_FILTER_RANGE, "a", 0, VEXFS_RANGE_LOWER_OPEN, &[]),
        one(
            VEXFS_FILTER_RANGE,
            "a",
            0,
            VEXFS_RANGE_LOWER | 16,
            &[&[3][..], &number].concat(),
        ),
        one(
            VEXFS_FILTER_RANGE,
            "a",
            0,
            VEXFS_RANGE_LOWER | VEXFS_RANGE_UPPER_OPEN,
            &[&[3][..], &number].concat(),
        ),
        one(
            VEXFS_FILTER_RANGE,
            "a",
            VEXFS_FIELD_I64,
            VEXFS_RANGE_LOWER,
            &[&[3][..], &number].concat(),
        ),
        one(VEXFS_FILTER_RANGE, "a", 0, VEXFS_RANGE_LOWER, &[5, 1]),
        one(
            VEXFS_FILTER_RANGE,
            "a",
            0,
            VEXFS_RANGE_LOWER | VEXFS_RANGE_UPPER,
            &[&[3][..], &number, &[1, 0, 0, 0, 0]].concat(),
        ),
        one(
            VEXFS_FILTER_RANGE,
            "a",
            0,
            VEXFS_RANGE_UPPER,
            &[&[4][..], &f64::NAN.to_le_bytes()].concat(),
        ),
    ];
    for (i, bytes) in wrong.iter().enumerate() {
        assert!(matches!(refused(bytes), Error::Invalid(_)), "{i}");
    }
    Program::parse(&one(VEXFS_FILTER_IN, "a", VEXFS_FIELD_BOOL, 0, &set(2, &[&[0], &[1]]))).unwrap();
}

#[test]
fn the_limits_are_reached_and_not_passed() {
    let nested = |depth: usize| {
        let mut root = instruction(VEXFS_FILTER_EXISTS, "a", 0, 0, &[]);
        (0..depth).for_each(|_| root = instruction(VEXFS_FILTER_NOT, "", 0, 0, &root));
        program(depth + 1, &root)
    };
    let row = payload(&Row::from([("a".to_string(), Val::Bool(true))]));
    assert_eq!(Program::parse(&nested(DEPTH_MAX)).unwrap().matches(&row), Ok(true));
    assert_eq!(Program::parse(&nested(DEPTH_MAX - 1)).unwrap().matches(&row), Ok(false));
    assert!(matches!(refused(&nested(DEPTH_MAX + 1)), Error::TooBig(_)));

    let wide = |members: usize| {
        let member = instruction(VEXFS_FILTER_EXISTS, "a", 0, 0, &[]);
        program(
            members + 1,
            &instruction(VEXFS_FILTER_AND, "", 0, 0, &member.repeat(members)),
        )
    };
    assert_eq!(
        Program::parse(&wide(INSTRUCTIONS_MAX - 1)).unwrap().nodes.len(),
        INSTRUCTIONS_MAX
    );
    assert!(matches!(refused(&wide(INSTRUCTIONS_MAX)), Error::TooBig(_)));

    let long = |len: usize| one(VEXFS_FILTER_PREFIX, "a", VEXFS_FIELD_KEYWORD, 0, &vec![b'x'; len]);
    let header = long(0).len();
    assert_eq!(
        Program::parse(&long(FILTER_MAX - header)).unwrap().as_bytes().len(),
        FILTER_MAX
    );
    assert!(matches!(refused(&long(FILTER_MAX - header + 1)), Error::TooBig(_)));
}

#[test]
fn running_out_of_memory_is_an_error() {
    let bytes = Expr::In("a".to_string(), vec![Val::Keyword("x".to_string())]).encode();
    for n in 0..3 {
        vexfs_host::mem::fail_allocations_after(Some(n));
        let result = Program::parse(&bytes).map(|_| ());
        vexfs_host::mem::fail_allocations_after(None);
        assert_eq!(result, Err(Error::NoMemory), "{n}");
    }
}

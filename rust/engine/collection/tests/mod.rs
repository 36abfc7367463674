// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Collections against an oracle that keeps rows in a map and compares in `f64`.

mod concurrent;
mod damage;
mod elements;
mod faults;
mod indexes;
mod interrupts;
mod memory;
mod model;
mod moving;
mod on_disk;
mod permits;
mod reads;
mod rules;
mod space;
mod stress;
mod support;

// SPDX-License-Identifier: Apache-2.0
//! Seats: making them, starting a worker on one, checking them.

use crate::report;
use crate::Arguments;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use vexfs_tests::collection;
use vexfs_tests::collection::Collection;
use vexfs_tests::stress::carry::Seat;
use vexfs_tests::stress::choose::NAMES;
use vexfs_tests::stress::model::rows_name;
use vexfs_tests::stress::model::seat_name;
use vexfs_tests::stress::model::Model;
use vexfs_tests::stress::observe;
use vexfs_tests::stress::shared::Table;

/// A seat and who sits there.
pub struct Place {
    pub number: usize,
    pub dir: PathBuf,
    pub rows: Option<PathBuf>,
    pub table_path: PathBuf,
    pub table: Table,
}

impl Place {
    /// Seat `number` on `mount`, made where there is none.
    pub fn new(mount: &Path, tables: &Path, number: usize) -> Result<Place, String> {
        let text = |e: std::io::Error| format!("seat {number}: {e}");
        let dir = mount.join(seat_name(number));
        let rows = collection::supported(mount).then(|| mount.join(rows_name(number)));
        let table_path = tables.join(number.to_string());
        let table = if table_path.exists() {
            Table::open(&table_path).map_err(text)?
        } else {
            std::fs::create_dir(&dir).map_err(text)?;
            if rows.is_some() {
                Collection::create(mount, &rows_name(number)).map_err(text)?;
            }
            Table::create(&table_path, &Model::new(number as u64)).map_err(text)?
        };
        Ok(Place {
            number,
            dir,
            rows,
            table_path,
            table,
        })
    }

    /// All seats that have a table.
    pub fn all(mount: &Path, tables: &Path) -> Result<Vec<Place>, String> {
        let places = (0..).take_while(|n| tables.join(n.to_string()).exists());
        places.map(|n| Place::new(mount, tables, n)).collect()
    }

    pub fn seat(&self) -> Result<Seat, String> {
        observe::patiently(|| Seat::new(&self.dir, self.rows.as_deref(), false))
            .map_err(|e| format!("seat {}: {e}", self.number))
    }

    /// Starts a worker of this program on the seat, which also syncs what is in the directory `other`.
    pub fn start(&self, seed: u64, policy: &str, other: Option<&Path>) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").arg(&self.table_path).arg(&self.dir);
        command.args(["--seed", &seed.to_string(), "--policy", policy]);
        if let Some(rows) = &self.rows {
            command.arg("--rows").arg(rows);
        }
        if let Some(other) = other {
            command.arg("--other").arg(other);
        }
        observe::patiently(|| command.spawn()).map_err(|e| format!("starting a worker: {e}"))
    }

    /// After its worker died: finds out what the seat holds and writes it down.
    pub fn resolve(&self) -> Result<(), String> {
        let Some(what) = self.table.under_way() else {
            return Ok(());
        };
        let (before, after) = (self.table.model(), self.table.other());
        let name = NAMES.get(what.op as usize).copied().unwrap_or("an operation");
        let found = observe::resolve(&self.seat()?, &before, &after, what)
            .map_err(|e| format!("seat {}, {name} did not end, {e}", self.number))?;
        self.table.settle(&found);
        Ok(())
    }

    pub fn verify(&self) -> Result<(), String> {
        observe::verify(&self.seat()?, &self.table.model()).map_err(|e| format!("seat {}: {e}", self.number))
    }
}

/// `stress verify`
pub fn verify(args: &Arguments) -> Result<bool, String> {
    let places = Place::all(args.path(1)?, args.path(2)?)?;
    let result = places.iter().try_for_each(Place::verify);
    Ok(report("everything that was written is there", result))
}

/// `stress adopt`
pub fn adopt(args: &Arguments) -> Result<bool, String> {
    let places = Place::all(args.path(1)?, args.path(2)?)?;
    let result = places.iter().try_for_each(|place| {
        let model = place.table.model();
        let found = observe::adopt(&place.seat()?, &model).map_err(|e| format!("seat {}: {e}", place.number))?;
        place.table.settle(&found);
        Ok(())
    });
    Ok(report("what was synced is there after the device failed", result))
}

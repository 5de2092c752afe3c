//! The cycles over redb itself: rows of a log and of a map, against a copy in memory.
//!
//! Every transaction writes its number into the database, so the recovered state says up to where
//! it goes, and the model is replayed up to there and compared row by row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aspen_core::Volume;
use aspen_sim::disk::{SimDisk, SimFile, SimVolume};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::chain;
use crate::crash::Crash;
use crate::report::{Failed, Failing, Report};

type Rows = BTreeMap<u64, Vec<u8>>;
type Table = TableDefinition<'static, u64, &'static [u8]>;

const LOG: Table = TableDefinition::new("log");
const MAP: Table = TableDefinition::new("map");
const NUMBER: TableDefinition<'_, (), u64> = TableDefinition::new("number");

/// What the database holds, and up to which transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    log: Rows,
    map: Rows,
    number: u64,
}

/// One transaction's work.
#[derive(Clone, Debug)]
enum Change {
    Append(Vec<Vec<u8>>),
    TruncateAfter(u64),
    PurgeUpto(u64),
    Put(Vec<(u64, Vec<u8>)>),
}

#[derive(Clone, Debug)]
struct Transaction {
    change: Change,
    durability: Durability,
}

impl Transaction {
    fn draw(model: &Model, random: &mut ChaCha8Rng) -> Self {
        let bytes = |random: &mut ChaCha8Rng| {
            let longest = if random.random_range(0..20) == 0 { 9_000 } else { 400 };
            vec![random.random::<u8>(); random.random_range(1..longest)]
        };
        let first = model.log.keys().next().copied().unwrap_or(0);
        let next = model.next_index();
        let change = match random.random_range(0..100) {
            0..50 => {
                Change::Append((0..random.random_range(1..16)).map(|_| bytes(random)).collect())
            }
            50..58 if next > first => Change::TruncateAfter(random.random_range(first..next)),
            58..68 if next > first + 50 => Change::PurgeUpto(next - 20),
            _ => {
                let pair = |random: &mut ChaCha8Rng| (random.random_range(0..500), bytes(random));
                Change::Put((0..random.random_range(1..8)).map(|_| pair(random)).collect())
            }
        };
        let durability = match &change {
            Change::Append(_) | Change::TruncateAfter(_) => Durability::Immediate,
            Change::PurgeUpto(_) | Change::Put(_) => Durability::None,
        };
        Self { change, durability }
    }

    /// Runs it; `Ok` is the acknowledgement.
    fn run(&self, database: &Database, next_index: u64, number: u64) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut map = transaction.open_table(MAP)?;
            match &self.change {
                Change::Append(rows) => {
                    for (index, row) in (next_index..).zip(rows) {
                        log.insert(index, row.as_slice())?;
                    }
                }
                Change::TruncateAfter(last) => log.retain_in(*last + 1.., |_, _| false)?,
                Change::PurgeUpto(last) => log.retain_in(..=*last, |_, _| false)?,
                Change::Put(pairs) => {
                    for (key, value) in pairs {
                        map.insert(*key, value.as_slice())?;
                    }
                }
            }
            transaction.open_table(NUMBER)?.insert((), number)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Model {
    fn next_index(&self) -> u64 {
        self.log.keys().next_back().map_or(0, |last| last + 1)
    }

    fn apply(&mut self, transaction: &Transaction) {
        self.number += 1;
        match &transaction.change {
            Change::Append(rows) => {
                let next = self.next_index();
                self.log.extend((next..).zip(rows.iter().cloned()));
            }
            Change::TruncateAfter(last) => {
                self.log.split_off(&(last + 1));
            }
            Change::PurgeUpto(last) => self.log = self.log.split_off(&(last + 1)),
            Change::Put(pairs) => self.map.extend(pairs.iter().cloned()),
        }
    }

    fn read(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let rows = |table: Table| match transaction.open_table(table) {
            Ok(table) => {
                let row = |row: Result<(redb::AccessGuard<'_, u64>, _), redb::StorageError>| {
                    let (key, value): (_, redb::AccessGuard<'_, &[u8]>) = row?;
                    Ok((key.value(), value.value().to_vec()))
                };
                table.iter()?.map(row).collect::<Result<Rows, redb::Error>>()
            }
            Err(TableError::TableDoesNotExist(_)) => Ok(Rows::new()),
            Err(error) => Err(error.into()),
        };
        let number = match transaction.open_table(NUMBER) {
            Ok(table) => table.get(())?.map_or(0, |number| number.value()),
            Err(TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { log: rows(LOG)?, map: rows(MAP)?, number })
    }
}

/// Runs the cycles.
pub(crate) fn run(cycles: u64, seed: u64, lying_disk: bool) -> Report {
    chain::run(cycles, seed, lying_disk, run_cycle)
}

/// One crash and the recovery after it; what is there afterwards.
async fn run_cycle(
    disk: &SimDisk,
    base: Model,
    random: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<Model, Failed> {
    let crash = Crash::at_work(random);
    crash.plan(disk);
    let (mut asked, mut acknowledged) = (Vec::new(), base.number);
    let opened = open(&disk.mount());
    match &opened {
        Ok((database, _)) => {
            let mut model = base.clone();
            while !disk.is_dead() {
                let transaction = Transaction::draw(&model, random);
                let number = model.number + 1;
                let done = transaction.run(database, model.next_index(), number);
                model.apply(&transaction);
                report.transactions += 1;
                if done.is_ok() && matches!(transaction.durability, Durability::Immediate) {
                    report.acknowledged += number - acknowledged;
                    acknowledged = number;
                }
                asked.push(transaction);
            }
        }
        Err(error) if !disk.is_dead() => return Err((Failing::Unusable, error.clone())),
        Err(_) => report.in_open += 1,
    }
    crash.strike(disk);
    // Only now: the destructor must meet the fence, as that of a killed task does.
    drop(opened);
    while random.random_range(0..3) == 0 {
        crash_in_open(disk, random, report)?;
    }
    let recovered = recover(disk, random, report)?;
    report.found_more += u64::from(recovered.number > acknowledged);
    compare(base, &asked, acknowledged, recovered)
}

/// One more crash, before the store is open again.
fn crash_in_open(
    disk: &SimDisk,
    random: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<(), Failed> {
    let crash = Crash::in_open(random);
    crash.plan(disk);
    let opened = open(&disk.mount());
    report.in_open += u64::from(disk.is_dead());
    match &opened {
        Err(error) if !disk.is_dead() => return Err((Failing::Unusable, error.clone())),
        Ok(_) | Err(_) => crash.strike(disk),
    }
    Ok(())
}

fn recover(disk: &SimDisk, random: &mut ChaCha8Rng, report: &mut Report) -> Result<Model, Failed> {
    let (database, repaired) = open(&disk.mount()).map_err(|error| (Failing::Unusable, error))?;
    report.repaired += u64::from(repaired);
    let model = Model::read(&database).map_err(|error| (Failing::Unusable, error.to_string()));
    if random.random_range(0..2) == 0 {
        // The next life then begins with a recovery, too, and may end in it.
        Crash::kill().strike(disk);
    }
    model
}

fn compare(
    base: Model,
    asked: &[Transaction],
    acknowledged: u64,
    recovered: Model,
) -> Result<Model, Failed> {
    if recovered.number < acknowledged {
        let note = format!("{acknowledged} acknowledged, {} found", recovered.number);
        return Err((Failing::Lost, note));
    }
    let mut expected = base;
    for transaction in asked {
        if expected.number == recovered.number {
            break;
        }
        expected.apply(transaction);
    }
    if expected != recovered {
        return Err((Failing::Wrong, format!("content after {}", recovered.number)));
    }
    Ok(recovered)
}

/// Opens the database, or creates it in the way that is crash-safe. The flag tells of a repair.
fn open(volume: &SimVolume) -> Result<(Database, bool), String> {
    const CACHE_BYTES: usize = 4 << 20;
    let repaired = Arc::new(AtomicBool::new(false));
    let build = |file: SimFile| {
        let seen = Arc::clone(&repaired);
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
            .create_with_backend(file)
            .map_err(|error| error.to_string())
    };
    let told = |error: std::io::Error| error.to_string();
    if volume.open("db").map_err(told)?.is_none() {
        drop(build(volume.create("db.new").map_err(told)?)?);
        volume.rename("db.new", "db").map_err(told)?;
    }
    // A life that was killed may have left the name unsynced.
    volume.sync_folder().map_err(told)?;
    let file = volume.open("db").map_err(told)?.ok_or("db has vanished")?;
    let database = build(file)?;
    Ok((database, repaired.load(Ordering::Relaxed)))
}

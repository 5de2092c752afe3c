//! The journal: what makes a small append durable, with one write and one sync.
//!
//! A commit of the database writes some eight pages for one entry. So appends go to this file
//! first, one record for each group, and the next transaction of the database that is synced takes
//! their rows along: when the journal is full, when there is anything else to write, and at the
//! next opening. From then on the file is written from its beginning again, in a new **epoch**;
//! `meta` names the current one, and it changes in the very transaction that takes the rows along.
//!
//! ```text
//! sector   mark: 1 begins a record, 2 goes on with one
//!          511 bytes of the record
//! record   epoch u64, number in the epoch u32, length of the body u32, then the body
//! body     8 bytes of checksum over epoch, number and rows; then the rows
//! row      index u64, length u32, the sealed row as it will stand in the log
//! ```
//!
//! Numbers are little-endian. A record begins in a sector of its own, and where a client's bytes
//! stand there is never a mark: what somebody chooses to store cannot be taken for a record.
//!
//! Each record is synced before the next one is written. So a crash tears the last one alone, which
//! nobody was told of; a record that cannot be read and has a readable one behind it is damage. This
//! leans on disks that do not harm a sector's neighbours when they lose power in a write, as all
//! logs do that are packed tighter than a disk's largest sector. A last record that rots cannot be
//! told from a torn one.

use std::io;

use redb::StorageBackend;
use serde::{Deserialize, Serialize};

use crate::machine::digest::RowHash;
use crate::storage::encoding::{self, SEAL_BYTES};
use crate::storage::error::StorageError;

const SECTOR_BYTES: usize = 512;
/// What a sector holds of a record.
const SHARE_BYTES: usize = SECTOR_BYTES - 1;
const BEGINS: u8 = 1;
const GOES_ON: u8 = 2;
/// Epoch, number and length.
const HEAD_BYTES: usize = 16;
/// Index and length.
const ROW_HEAD_BYTES: usize = 12;

/// A row of the log: its index, and the sealed entry.
pub(crate) type LogRow = (u64, Vec<u8>);

/// What the database knows of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalRow {
    /// The current epoch.
    pub(crate) epoch: u64,
    /// The file's length. One of another length is not the file that the records were written to.
    pub(crate) bytes: u64,
}

/// The file, and what the database does not have yet of it.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn StorageBackend>,
    row: JournalRow,
    /// How many records this epoch has.
    records: u32,
    /// Where the next record begins, in sectors.
    next: usize,
    rows: Vec<LogRow>,
}

impl Journal {
    /// The journal in a file, at the beginning of an epoch.
    pub(crate) fn new(file: Box<dyn StorageBackend>, row: JournalRow) -> Self {
        Self { file, row, records: 0, next: 0, rows: Vec::new() }
    }

    /// Whether rows of this [`weight`] fit into what is left of the file.
    pub(crate) fn has_room_for(&self, weight: usize) -> bool {
        self.next + (HEAD_BYTES + SEAL_BYTES + weight).div_ceil(SHARE_BYTES)
            <= self.row.bytes as usize / SECTOR_BYTES
    }

    /// Writes rows as one record and syncs it. They must fit.
    ///
    /// # Errors
    /// The file's.
    pub(crate) fn write(&mut self, rows: Vec<LogRow>) -> Result<(), StorageError> {
        let sectors = into_sectors(&record(self.row.epoch, self.records, &rows));
        self.file.write((self.next * SECTOR_BYTES) as u64, &sectors)?;
        self.file.sync_data()?;
        self.next += sectors.len() / SECTOR_BYTES;
        self.records += 1;
        self.rows.extend(rows);
        Ok(())
    }

    /// The rows of this epoch, in the order of their appends.
    pub(crate) fn rows(&self) -> &[LogRow] {
        &self.rows
    }

    /// The journal at the beginning of the epoch after this one.
    pub(crate) fn next_epoch(&self) -> JournalRow {
        JournalRow { epoch: self.row.epoch + 1, ..self.row }
    }

    /// Begins the next epoch: the database has the rows of this one.
    pub(crate) fn turn(&mut self) {
        self.row = self.next_epoch();
        (self.records, self.next) = (0, 0);
        self.rows.clear();
    }
}

/// How many bytes of a record rows take.
pub(crate) fn weight(rows: &[LogRow]) -> usize {
    rows.iter().map(|(_, row)| ROW_HEAD_BYTES + row.len()).sum()
}

/// The rows that an epoch left in a file.
///
/// # Errors
/// The file's, and [`StorageError::JournalDamaged`].
pub(crate) fn read(file: &dyn StorageBackend, epoch: u64) -> Result<Vec<LogRow>, StorageError> {
    let mut sectors = vec![0; file.len()? as usize / SECTOR_BYTES * SECTOR_BYTES];
    file.read(0, &mut sectors)?;
    let (mut rows, mut next, mut records) = (Vec::new(), 0, 0);
    while let Some(found) = read_record(&sectors[next..], epoch).filter(|it| it.number == records) {
        rows.extend(found.rows);
        next += found.sectors * SECTOR_BYTES;
        records += 1;
    }
    let mut behind = (next..sectors.len()).step_by(SECTOR_BYTES);
    let damaged = behind.any(|from| {
        read_record(&sectors[from..], epoch).is_some_and(|found| found.number > records)
    });
    if damaged { Err(StorageError::JournalDamaged { record: records }) } else { Ok(rows) }
}

/// A record that was read.
struct Found {
    number: u32,
    sectors: usize,
    rows: Vec<LogRow>,
}

/// The record of this epoch at the beginning of these sectors, if a whole one is there.
fn read_record(sectors: &[u8], epoch: u64) -> Option<Found> {
    let mut head = shares(sectors, 1).next()?;
    if take_u64(&mut head)? != epoch {
        return None;
    }
    let number = take_u32(&mut head)?;
    let length = take_u32(&mut head)? as usize;
    let count = (HEAD_BYTES + length).div_ceil(SHARE_BYTES);
    if count * SECTOR_BYTES > sectors.len() {
        return None;
    }
    let bytes: Vec<u8> = shares(sectors, count).flatten().copied().collect();
    let body = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
    let (mut body, _) = encoding::unseal(&place(epoch, number), body)?;
    let mut rows = Vec::new();
    while !body.is_empty() {
        let index = take_u64(&mut body)?;
        let length = take_u32(&mut body)? as usize;
        rows.push((index, body.split_off(..length)?.to_vec()));
    }
    Some(Found { number, sectors: count, rows })
}

/// What each of the first `count` sectors holds of a record, as far as their marks fit.
fn shares(sectors: &[u8], count: usize) -> impl Iterator<Item = &[u8]> {
    let marks = std::iter::once(BEGINS).chain(std::iter::repeat(GOES_ON));
    let sectors = sectors.chunks_exact(SECTOR_BYTES).take(count).zip(marks);
    sectors.take_while(|(sector, mark)| sector[0] == *mark).map(|(sector, _)| &sector[1..])
}

fn record(epoch: u64, number: u32, rows: &[LogRow]) -> Vec<u8> {
    let length = weight(rows);
    let mut bytes = Vec::with_capacity(length);
    for (index, row) in rows {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&(row.len() as u32).to_le_bytes());
        bytes.extend_from_slice(row);
    }
    let hash = RowHash::of(&place(epoch, number), &bytes);
    let mut record = Vec::with_capacity(HEAD_BYTES + SEAL_BYTES + length);
    record.extend_from_slice(&place(epoch, number));
    record.extend_from_slice(&((SEAL_BYTES + length) as u32).to_le_bytes());
    record.extend_from_slice(&hash.checksum());
    record.extend_from_slice(&bytes);
    record
}

/// Cuts a record into sectors, the last one filled up with zeros.
fn into_sectors(record: &[u8]) -> Vec<u8> {
    let count = record.len().div_ceil(SHARE_BYTES);
    let mut sectors = Vec::with_capacity(count * SECTOR_BYTES);
    for (nth, share) in record.chunks(SHARE_BYTES).enumerate() {
        sectors.push(if nth == 0 { BEGINS } else { GOES_ON });
        sectors.extend_from_slice(share);
    }
    sectors.resize(count * SECTOR_BYTES, 0);
    sectors
}

/// What the body of a record is sealed under: a copy elsewhere is not that record.
fn place(epoch: u64, number: u32) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&epoch.to_le_bytes());
    place[8..].copy_from_slice(&number.to_le_bytes());
    place
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    bytes.split_off(..8)?.try_into().ok().map(u64::from_le_bytes)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    bytes.split_off(..4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Makes a file that a journal can be in: its length is durable, its content zeros.
///
/// # Errors
/// The file's.
pub(crate) fn prepare(file: &dyn StorageBackend, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::*;

    /// A file that outlives the journal in it.
    #[derive(Clone, Debug)]
    struct File(Arc<InMemoryBackend>);

    impl File {
        fn new(sectors: usize) -> Self {
            let file = Self(Arc::new(InMemoryBackend::new()));
            prepare(&file, (sectors * SECTOR_BYTES) as u64).unwrap();
            file
        }

        fn journal(&self, epoch: u64) -> Journal {
            let bytes = self.len().unwrap();
            Journal::new(Box::new(self.clone()), JournalRow { epoch, bytes })
        }

        fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![0; self.len().unwrap() as usize];
            self.read(0, &mut bytes).unwrap();
            bytes
        }
    }

    impl StorageBackend for File {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    fn rows(indexes: Range<u64>, bytes: usize) -> Vec<LogRow> {
        indexes.map(|index| (index, vec![index as u8; bytes])).collect()
    }

    #[test]
    fn rows_come_back_in_their_order_until_the_epoch_turns() {
        let file = File::new(64);
        let mut journal = file.journal(3);
        journal.write(rows(5..6, 0)).unwrap();
        journal.write(rows(6..9, 700)).unwrap();
        journal.write(rows(9..10, 20)).unwrap();
        let expected = [rows(5..6, 0), rows(6..9, 700), rows(9..10, 20)].concat();
        assert_eq!(journal.rows(), expected);
        assert_eq!(read(&file, 3).unwrap(), expected);
        journal.turn();
        assert_eq!(journal.rows(), []);
        assert_eq!(read(&file, 4).unwrap(), [], "what is there is of the epoch before");
        journal.write(rows(10..11, 9)).unwrap();
        assert_eq!(read(&file, 4).unwrap(), rows(10..11, 9), "and what it left behind, too");
    }

    #[test]
    fn what_does_not_fit_is_known_before_it_is_written() {
        let mut journal = File::new(4).journal(1);
        let fits = |journal: &Journal, bytes| journal.has_room_for(weight(&rows(1..2, bytes)));
        let most = 4 * SHARE_BYTES - HEAD_BYTES - SEAL_BYTES - ROW_HEAD_BYTES;
        assert!(fits(&journal, most) && !fits(&journal, most + 1));
        journal.write(rows(1..2, 1)).unwrap();
        assert!(fits(&journal, most - SHARE_BYTES) && !fits(&journal, most - SHARE_BYTES + 1));
        journal.write(rows(1..2, most - SHARE_BYTES)).unwrap();
        assert!(!fits(&journal, 0));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_damage_if_another_follows() {
        let file = File::new(16);
        let mut journal = file.journal(7);
        for index in 0..3 {
            journal.write(rows(index..index + 1, 600)).unwrap();
        }
        let sound = file.bytes();
        let used = 2 + HEAD_BYTES + SEAL_BYTES + weight(&rows(0..1, 600));
        for byte in 0..6 * SECTOR_BYTES {
            file.write(byte as u64, &[sound[byte] ^ 0x10]).unwrap();
            let found = read(&file, 7).map(|rows| rows.len());
            file.write(byte as u64, &sound[byte..=byte]).unwrap();
            match (byte / (2 * SECTOR_BYTES), found) {
                // The zeros that fill a sector up are no part of a record.
                (_, Ok(found)) if byte % (2 * SECTOR_BYTES) >= used => assert_eq!(found, 3),
                // The last record may have been torn by a crash.
                (2, Ok(found)) => assert_eq!(found, 2, "byte {byte}"),
                (rotten, Err(StorageError::JournalDamaged { record })) => {
                    assert_eq!((record as usize, rotten < 2), (rotten, true), "byte {byte}");
                }
                (_, found) => panic!("byte {byte}: {found:?}"),
            }
        }
    }

    /// Somebody stores what looks like the next record of the next epoch, at each place of a value.
    #[test]
    fn a_value_is_never_taken_for_a_record() {
        let forged = into_sectors(&record(2, 1, &rows(66..67, 1)));
        for shift in 0..SECTOR_BYTES {
            let file = File::new(16);
            let mut journal = file.journal(1);
            let value = [vec![0; shift], forged.clone(), forged.clone()].concat();
            journal.write(vec![(1, value)]).unwrap();
            journal.turn();
            journal.write(rows(2..3, 1)).unwrap();
            assert_eq!(read(&file, 2).unwrap(), rows(2..3, 1), "shift {shift}");
        }
    }

    /// A crash lets any of the sectors of the last record survive, over what was there before.
    #[test]
    fn a_torn_record_is_as_if_it_had_not_been_written() {
        for (bytes, surviving) in [0, 400, 900, 2000]
            .into_iter()
            .flat_map(|bytes| (0..32_usize).map(move |surviving| (bytes, surviving)))
        {
            let file = File::new(64);
            let mut journal = file.journal(1);
            journal.write(rows(0..6, 2000)).unwrap();
            journal.turn();
            journal.write(rows(10..12, 300)).unwrap();
            let (from, old) = (journal.next, file.bytes());
            journal.write(rows(12..13, bytes)).unwrap();
            let new = file.bytes();
            for sector in (from..journal.next).filter(|it| surviving >> (it - from) & 1 == 0) {
                let lost = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                file.write(lost.start as u64, &old[lost]).unwrap();
            }
            let expected = if file.bytes() == new { journal.rows() } else { &journal.rows()[..2] };
            assert_eq!(read(&file, 2).unwrap(), expected, "{bytes} bytes, {surviving:b}");
        }
    }
}

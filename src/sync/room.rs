//! Room for an answer that has no pages: by rows and by bytes.

use super::row::Row;
use crate::config::limits;
use crate::error::{Code, Error};

/// Counts what goes into such an answer, portion by portion, and refuses it as soon as it is more
/// than there is room for.
pub struct Room {
    /// The most entries: rows and deletions.
    entries: u64,
    /// The most bytes that they may weigh.
    bytes: u64,
    what: &'static str,
    /// What to do where there is no room.
    instead: &'static str,
    taken: u64,
    weight: u64,
}

impl Room {
    pub fn new(entries: u64, what: &'static str, instead: &'static str) -> Room {
        Room { entries, bytes: limits::LIST_BYTES, what, instead, taken: 0, weight: 0 }
    }

    /// Takes room for rows. LIMIT, if there is not enough.
    pub fn take(&mut self, rows: &[Row]) -> Result<(), Error> {
        self.take_as(rows.len(), rows.iter().map(Row::weight).sum())
    }

    /// Takes room for entries of a weight. LIMIT, if there is not enough.
    pub fn take_as(&mut self, entries: usize, weight: usize) -> Result<(), Error> {
        self.taken += entries as u64;
        self.weight += weight as u64;
        match self.taken <= self.entries && self.weight <= self.bytes {
            true => Ok(()),
            false => Err(self.full()),
        }
    }

    /// What is said where there is no room.
    pub fn full(&self) -> Error {
        let Room { entries, bytes, what, instead, .. } = self;
        let message = format!("more than {entries} {what}, or {bytes} bytes of them; {instead}");
        Error::new(Code::Limit, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room { entries: 3, bytes: 100, ..Room::new(0, "trips", "use less") }
    }

    #[test]
    fn what_fits_exactly_is_taken() {
        let mut room = room();
        assert_eq!(room.take_as(2, 60), Ok(()));
        assert_eq!(room.take_as(1, 40), Ok(()));
        assert_eq!(room.take_as(0, 0), Ok(()));
    }

    #[test]
    fn one_entry_or_byte_more_is_refused() {
        for (entries, weight) in [(2, 0), (0, 41), (2, 41)] {
            let mut room = room();
            assert_eq!(room.take_as(2, 60), Ok(()));
            let error = room.take_as(entries, weight).expect_err("there is no room");
            assert_eq!(error.code, Code::Limit);
            assert_eq!(error.message, "more than 3 trips, or 100 bytes of them; use less");
        }
    }
}

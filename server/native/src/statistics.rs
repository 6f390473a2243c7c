//! Counts per method and status, without locks: every field is an atomic of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::status;

/// One method's calls that ended with one status.
#[derive(Debug)]
struct Cell {
    counts: Vec<AtomicU64>,
    total_ns: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// A reading of a cell that is not empty.
#[derive(Debug, PartialEq)]
pub struct Reading {
    pub route: usize,
    pub status: u8,
    pub counts: Vec<u64>,
    pub total_s: f64,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// Counters of all routes; the last one stands for whatever is not routed.
#[derive(Debug)]
pub struct Statistics {
    bounds_ns: Vec<u64>,
    cells: Vec<Cell>,
}

impl Statistics {
    /// `bounds_s` are the ascending upper bounds of all buckets but the last, which has none.
    pub fn new(routes: usize, bounds_s: &[f64]) -> Self {
        let cell = || Cell {
            counts: (0..=bounds_s.len()).map(|_| AtomicU64::new(0)).collect(),
            total_ns: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
        };
        Statistics {
            bounds_ns: bounds_s.iter().map(|bound| (bound * 1e9).round() as u64).collect(),
            cells: (0..(routes + 1) * status::COUNT).map(|_| cell()).collect(),
        }
    }

    pub fn add(&self, route: usize, status: u8, took: Duration, request_bytes: usize, response_bytes: usize) {
        let index = route * status::COUNT + usize::from(status).min(status::COUNT - 1);
        let Some(cell) = self.cells.get(index) else {
            return;
        };
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds_ns.partition_point(|&bound| bound < took_ns);
        cell.counts[bucket].fetch_add(1, Relaxed);
        cell.total_ns.fetch_add(took_ns, Relaxed);
        cell.request_bytes.fetch_add(request_bytes as u64, Relaxed);
        cell.response_bytes.fetch_add(response_bytes as u64, Relaxed);
    }

    pub fn read(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let counts: Vec<u64> = cell.counts.iter().map(|count| count.load(Relaxed)).collect();
            if counts.iter().any(|&count| count > 0) {
                readings.push(Reading {
                    route: index / status::COUNT,
                    status: (index % status::COUNT) as u8,
                    counts,
                    total_s: cell.total_ns.load(Relaxed) as f64 / 1e9,
                    request_bytes: cell.request_bytes.load(Relaxed),
                    response_bytes: cell.response_bytes.load(Relaxed),
                });
            }
        }
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_under_its_method_and_status_in_the_bucket_of_its_time() {
        let statistics = Statistics::new(2, &[0.001, 0.01]);
        statistics.add(1, 5, Duration::from_millis(1), 10, 20);
        statistics.add(1, 5, Duration::from_millis(9), 1, 2);
        statistics.add(1, 5, Duration::from_secs(1), 0, 0);
        statistics.add(2, 12, Duration::ZERO, 0, 0);
        let readings = statistics.read();
        assert_eq!(readings.len(), 2);
        assert_eq!(
            (readings[0].route, readings[0].status, &readings[0].counts),
            (1, 5, &vec![1, 1, 1])
        );
        assert_eq!((readings[0].request_bytes, readings[0].response_bytes), (11, 22));
        assert!((readings[0].total_s - 1.01).abs() < 1e-9);
        assert_eq!((readings[1].route, readings[1].status), (2, 12));
    }
}

//! What a load counts.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::status::RESOURCE_EXHAUSTED;

/// What was seen of the calls that ended. Durations are in microseconds.
pub(crate) struct Tally {
    pub statuses: [u64; 17],
    /// Calls that were not sent, since too many were under way.
    pub not_sent: u64,
    /// Calls that the end of the load cut off.
    pub abandoned: u64,
    pub in_time: u64,
    /// Of the OK calls, by model.
    pub latencies: Vec<Histogram<u64>>,
    pub failures: Histogram<u64>,
    /// Of the failures, those that were refused: RESOURCE_EXHAUSTED.
    pub refusals: Histogram<u64>,
    /// How late calls were sent, or, in a closed loop, a timer came.
    pub lateness: Histogram<u64>,
    /// What the first failure of each status said of itself.
    pub samples: BTreeMap<u8, String>,
}

impl Tally {
    pub(super) fn new(models: usize) -> Self {
        Self {
            statuses: [0; 17],
            not_sent: 0,
            abandoned: 0,
            in_time: 0,
            latencies: (0..models).map(|_| durations()).collect(),
            failures: durations(),
            refusals: durations(),
            lateness: durations(),
            samples: BTreeMap::new(),
        }
    }

    /// Counts a call of a model that ended so long after it was meant to be sent.
    pub(super) fn count(&mut self, model: usize, status: u8, text: String, took: Duration, in_time: Duration) {
        self.statuses[usize::from(status)] += 1;
        if status == 0 {
            self.in_time += u64::from(took <= in_time);
            record(&mut self.latencies[model], took);
            return;
        }
        record(&mut self.failures, took);
        if status == RESOURCE_EXHAUSTED {
            record(&mut self.refusals, took);
        }
        self.samples.entry(status).or_insert(text);
    }
}

fn durations() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are constants that fit")
}

pub(super) fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(
        u64::try_from((duration.as_nanos() + 500) / 1000)
            .unwrap_or(u64::MAX)
            .max(1),
    );
}

//! How often a key may ask.

use std::fmt;

use thyme_core::{Error, Result};

/// So many requests in each span of time; so many at once, too, after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    count: u32,
    span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Second,
    Minute,
    Hour,
}

const COUNT_MAX: u32 = 1_000_000;

impl Span {
    fn nanoseconds(self) -> u64 {
        1_000_000_000
            * match self {
                Span::Second => 1,
                Span::Minute => 60,
                Span::Hour => 3600,
            }
    }

    fn letter(self) -> char {
        match self {
            Span::Second => 's',
            Span::Minute => 'm',
            Span::Hour => 'h',
        }
    }
}

impl Rate {
    /// Reads `100/s`, `600/m` or `5000/h`.
    ///
    /// # Errors
    /// InvalidData: it is nothing like that.
    pub fn parse(text: &str) -> Result<Rate> {
        let read = || {
            let (count, span) = text.split_once('/')?;
            let span = match span {
                "s" => Span::Second,
                "m" => Span::Minute,
                "h" => Span::Hour,
                _ => return None,
            };
            let is_plain = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse().ok().filter(|count| is_plain && (1..=COUNT_MAX).contains(count))?;
            Some(Rate { count, span })
        };
        read().ok_or_else(|| {
            Error::invalid_data(format!(
                "rate: expected a number of requests from 1 to {COUNT_MAX} and a span, such as 100/s, 600/m or 5000/h, got \"{text}\""
            ))
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.span.letter())
    }
}

/// What is left of a rate: a bucket that holds a span's worth of requests and fills evenly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When it would be full again, in nanoseconds of the caller's clock.
    full_at: u64,
}

impl Bucket {
    /// Takes one request at `now`; else says after how many nanoseconds there is one.
    pub fn take(&mut self, rate: Rate, now: u64) -> Result<(), u64> {
        let span = rate.span.nanoseconds();
        let full_at = self.full_at.max(now) + span / u64::from(rate.count);
        match full_at - now > span {
            true => Err(full_at - now - span),
            false => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn rates_are_read_and_shown_as_they_are_written() {
        for text in ["100/s", "1/m", "1000000/h"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "/s", "0/s", "1000001/s", "10", "10/d", "1.5/s", "+3/s", "-1/s", "10/ s", "٣/s"] {
            let error = Rate::parse(text).unwrap_err();
            assert!(error.detail().contains("such as 100/s"), "{text}: {error}");
        }
    }

    #[test]
    fn a_bucket_gives_its_rate_and_a_burst_of_one_span() {
        let rate = Rate::parse("4/s").unwrap();
        let mut bucket = Bucket::default();
        for now in [10 * SECOND; 4] {
            bucket.take(rate, now).unwrap();
        }
        assert_eq!(bucket.take(rate, 10 * SECOND), Err(SECOND / 4));
        assert_eq!(bucket.take(rate, 10 * SECOND + SECOND / 4 - 1), Err(1));
        bucket.take(rate, 10 * SECOND + SECOND / 4).unwrap();
        assert!(bucket.take(rate, 10 * SECOND + SECOND / 4).is_err(), "what is refused is not taken");
        // However long nobody asks, it holds no more than one span's.
        let taken = (0..100).filter(|_| bucket.take(rate, 1_000 * SECOND).is_ok()).count();
        assert_eq!(taken, 4);
        let taken =
            (0..10_000).filter(|i| bucket.take(rate, 2_000 * SECOND + i * SECOND / 100).is_ok()).count();
        assert_eq!(taken, 4 + 4 * 100 - 1);
    }
}
